/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "podman.h"
#include "scratch.h"
#include "util.h"

#include <string.h>
#include <sys/wait.h>

static char *option_podman;
static char *option_root;
static char *option_runroot;
static char *option_storage_driver;
static char **option_storage_opt;

const GOptionEntry podman_options[] = {
    {"podman", 0, 0, G_OPTION_ARG_FILENAME, &option_podman, "The podman to run [podman]",
     "PROGRAM"},
    {"root", 0, 0, G_OPTION_ARG_FILENAME, &option_root, "Where Podman keeps its images", "DIR"},
    {"runroot", 0, 0, G_OPTION_ARG_FILENAME, &option_runroot, "Where Podman keeps its state",
     "DIR"},
    {"storage-driver", 0, 0, G_OPTION_ARG_STRING, &option_storage_driver,
     "Podman's storage driver: nixstore or overlay", "DRIVER"},
    {"storage-opt", 0, 0, G_OPTION_ARG_STRING_ARRAY, &option_storage_opt,
     "An option for the storage driver (may be repeated)", "OPT"},
    {0},
};

static const char *
podman_program(void)
{
  return option_podman ? option_podman : "podman";
}

static void
add_option(GPtrArray *argv, const char *name, const char *value)
{
  if (!value)
    return;
  g_ptr_array_add(argv, g_strdup(name));
  g_ptr_array_add(argv, g_strdup(value));
}

static GPtrArray *
podman_argv(const char *const *arguments)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
  g_ptr_array_add(argv, g_strdup(podman_program()));
  add_option(argv, "--root", option_root);
  add_option(argv, "--runroot", option_runroot);
  add_option(argv, "--storage-driver", option_storage_driver);
  for (char **opt = option_storage_opt; opt && *opt; opt++)
    add_option(argv, "--storage-opt", *opt);
  for (; *arguments; arguments++)
    g_ptr_array_add(argv, g_strdup(*arguments));
  g_ptr_array_add(argv, NULL);
  return argv;
}

/* The last line of @text that says something, without the "Error: " that Podman puts first. */
static char *
last_line(const char *text)
{
  g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
  for (guint i = g_strv_length(lines); i-- > 0;) {
    const char *line = g_strstrip(lines[i]);
    if (g_str_has_prefix(line, "Error: "))
      line += strlen("Error: ");
    if (*line)
      return g_strdup(line);
  }
  return g_strdup("no message");
}

gboolean
podman_run(const char *const *arguments, char **ret_output, GError **error)
{
  g_autoptr(GPtrArray) argv = podman_argv(arguments);
  g_autofree char *output = NULL;
  g_autofree char *errors = NULL;
  g_autoptr(GError) local = NULL;
  int status;
  if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, scratch_child_setup,
                    NULL, &output, &errors, &status, &local)) {
    if (g_error_matches(local, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
      return util_error(error, NIXSTORE_ERROR_NOT_FOUND,
                        "%s: not found: install podman, or name it with --podman",
                        podman_program());
    return util_error(error, NIXSTORE_ERROR_FAILED, "run %s: %s", podman_program(), local->message);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    g_autofree char *line = last_line(errors);
    g_autofree char *what = g_strjoinv(" ", (char **)arguments);
    return util_error(error, NIXSTORE_ERROR_FAILED, "podman %s: %s", what, line);
  }
  if (ret_output)
    *ret_output = g_steal_pointer(&output);
  return TRUE;
}
