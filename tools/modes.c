/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "modes.h"
#include "backend.h"
#include "output.h"
#include "scratch.h"
#include "settings.h"
#include "util.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define MODES_MAX_ANSWER (256 * 1024)

static json_t *
probe_backend(const Backend *backend, const char *directory)
{
  g_autofree char *upper = g_build_filename(directory, backend->mode, NULL);
  g_autoptr(GError) error = NULL;
  const char *way = NULL;
  gboolean ok =
      util_make_directory(upper, 0755, &error) && backend_probe(backend, upper, &way, &error);
  return json_pack("{s:s, s:b, s:b, s:s?, s:o?}", "mode", backend->mode, "available", ok,
                   "automatic", backend->is_faithful, "way", ok ? way : NULL, "reason",
                   ok ? NULL : output_json_text(error->message));
}

static gboolean
write_file(const char *path, const char *text, GError **error)
{
  autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
  return (fd >= 0 && util_write_all(fd, text, strlen(text))) ||
         util_error_errno(error, "write %s", path);
}

/* Where Podman calls nixstore-mount for a user: root of a user namespace. One id is enough here. */
static gboolean
enter_user_namespace(GError **error)
{
  g_autofree char *uids = g_strdup_printf("0 %u 1\n", geteuid());
  g_autofree char *gids = g_strdup_printf("0 %u 1\n", getegid());
  if (geteuid() == 0)
    return TRUE;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
    return util_error_errno(error, "make a user namespace");
  return write_file("/proc/self/setgroups", "deny", error) &&
         write_file("/proc/self/uid_map", uids, error) &&
         write_file("/proc/self/gid_map", gids, error);
}

/* The child's work: prints the array, or an object with the error. */
static void
probe_all(const char *directory, int fd)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(json_t) answer = json_array();
  gsize count;
  const Backend *rows = backend_list(&count);
  scratch_child_setup(NULL);
  if (enter_user_namespace(&error))
    for (gsize i = 0; i < count; i++)
      json_array_append_new(answer, probe_backend(&rows[i], directory));
  g_autoptr(json_t) failure =
      error ? json_pack("{s:o}", "error", output_json_text(error->message)) : NULL;
  json_dumpfd(failure ? failure : answer, fd, JSON_COMPACT);
}

/* Everything that comes from @fd until the other end is closed; NULL when it is too much. */
static char *
read_answer(int fd)
{
  g_autoptr(GString) text = g_string_new(NULL);
  char buffer[4096];
  gssize size;
  while ((size = read(fd, buffer, sizeof buffer)) > 0 || (size < 0 && errno == EINTR)) {
    g_string_append_len(text, buffer, MAX(size, 0));
    if (text->len > MODES_MAX_ANSWER)
      return NULL;
  }
  return g_string_free(g_steal_pointer(&text), FALSE);
}

/* In a child, which can go into other namespaces. */
static json_t *
probe_in_child(const char *directory, GError **error)
{
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) {
    util_error_errno(error, "make a pipe");
    return NULL;
  }
  autofd int reader = ends[0], writer = ends[1];
  pid_t child = fork();
  if (child == 0) {
    probe_all(directory, writer);
    _exit(0);
  }
  util_close_fd(&writer);
  g_autofree char *text = child < 0 ? NULL : read_answer(reader);
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
    ;
  g_autoptr(json_t) answer = text ? json_loads(text, 0, NULL) : NULL;
  if (json_is_array(answer))
    return g_steal_pointer(&answer);
  const char *reason = json_string_value(json_object_get(answer, "error"));
  util_error(error, NIXSTORE_ERROR_FAILED, "try the modes: %s",
             reason ? reason : "the process that did it ended early");
  return NULL;
}

json_t *
modes_probe(GError **error)
{
  /* Read here, where the user is who they are. */
  if (!settings_get(error))
    return NULL;
  g_autoptr(Scratch) scratch = scratch_new(error);
  return scratch ? probe_in_child(scratch->path, error) : NULL;
}

json_t *
modes_choose(json_t *modes, const char *mode)
{
  gsize i;
  json_t *row;
  json_array_foreach(modes, i, row)
  {
    gboolean available = json_is_true(json_object_get(row, "available"));
    if (strcmp(mode, "auto") == 0
            ? available && json_is_true(json_object_get(row, "automatic"))
            : g_strcmp0(json_string_value(json_object_get(row, "mode")), mode) == 0)
      return available ? row : NULL;
  }
  return NULL;
}
