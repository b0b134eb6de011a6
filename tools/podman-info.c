/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "podman-info.h"
#include "output.h"
#include "podman.h"
#include "run.h"
#include "scratch.h"
#include "util.h"

#include <string.h>
#include <sys/mount.h>

void
podman_info_free(PodmanInfo *info)
{
  if (!info)
    return;
  g_free(info->version);
  g_free(info->driver);
  g_free(info->graph_root);
  g_free(info->run_root);
  g_free(info->config_file);
  g_free(info->mount_program);
  g_free(info->mount_program_source);
  g_free(info->mountopt);
  g_free(info->configured_driver);
  g_free(info);
}

/* What stands in quotes at the start of @text. */
static char *
unquote(const char *text)
{
  const char *end = *text == '"' || *text == '\'' ? strchr(text + 1, *text) : NULL;
  return end ? g_strndup(text + 1, (gsize)(end - text - 1)) : NULL;
}

char *
podman_conf_lookup(const char *path, const char *table, const char *key)
{
  g_autofree char *text = NULL;
  g_autofree char *header = g_strdup_printf("[%s]", table);
  gboolean inside = FALSE;
  if (!path || !g_file_get_contents(path, &text, NULL, NULL))
    return NULL;
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line; line++) {
    const char *start = g_strstrip(*line);
    if (*start == '[')
      inside = g_str_has_prefix(start, header);
    if (!inside || !g_str_has_prefix(start, key))
      continue;
    start += strlen(key);
    start += strspn(start, " \t");
    if (*start++ == '=')
      return unquote(start + strspn(start, " \t"));
  }
  return NULL;
}

static char *
member(json_t *object, const char *name)
{
  const char *text = json_string_value(json_object_get(object, name));
  return text && *text ? g_strdup(text) : NULL;
}

/* The option @name of the driver; Podman shows a program with what it says of itself. */
static char *
graph_option(json_t *store, const char *driver, const char *name)
{
  g_autofree char *key = g_strconcat(driver, ".", name, NULL);
  json_t *value = json_object_get(json_object_get(store, "graphOptions"), key);
  return json_is_object(value) ? member(value, "Executable") : g_strdup(json_string_value(value));
}

static char *
mount_program_source(const PodmanInfo *info)
{
  const char *environment = g_getenv("STORAGE_OPTS");
  if (podman_option_names("mount_program="))
    return g_strdup("--storage-opt");
  if (environment && strstr(environment, "mount_program="))
    return g_strdup("STORAGE_OPTS");
  return g_strdup(info->config_file);
}

/* How many ids the mapping @list has. */
static guint64
count_ids(json_t *list)
{
  guint64 count = 0;
  gsize i;
  json_t *range;
  json_array_foreach(list, i, range) count +=
      (guint64)json_integer_value(json_object_get(range, "size"));
  return count;
}

static gboolean
info_parse(PodmanInfo *info, json_t *document)
{
  json_t *store = json_object_get(document, "store");
  json_t *security = json_object_get(json_object_get(document, "host"), "security");
  json_t *mappings = json_object_get(json_object_get(document, "host"), "idMappings");
  info->n_uids = count_ids(json_object_get(mappings, "uidmap"));
  info->n_gids = count_ids(json_object_get(mappings, "gidmap"));
  info->version = member(json_object_get(document, "version"), "Version");
  info->driver = member(store, "graphDriverName");
  info->graph_root = member(store, "graphRoot");
  info->run_root = member(store, "runRoot");
  info->config_file = member(store, "configFile");
  info->is_rootless = json_is_true(json_object_get(security, "rootless"));
  if (!info->version || !info->driver || !info->graph_root || !info->run_root)
    return FALSE;
  info->mount_program = graph_option(store, info->driver, "mount_program");
  info->mountopt = graph_option(store, info->driver, "mountopt");
  if (info->mount_program)
    info->mount_program_source = mount_program_source(info);
  info->configured_driver = podman_conf_lookup(info->config_file, "storage", "driver");
  return TRUE;
}

PodmanInfo *
podman_info_new(GError **error)
{
  const char *arguments[] = {"info", "--format", "json", NULL};
  g_autofree char *output = NULL;
  if (!podman_run(arguments, &output, error))
    return NULL;
  g_autoptr(PodmanInfo) info = g_new0(PodmanInfo, 1);
  g_autoptr(json_t) document = json_loads(output, 0, NULL);
  if (info_parse(info, document))
    return g_steal_pointer(&info);
  util_error(error, NIXSTORE_ERROR_FAILED, "podman info: its answer is not understood");
  return NULL;
}

gboolean
podman_has_driver(const char *driver, gboolean *ret_has, GError **error)
{
  g_autoptr(GError) local = NULL;
  /* Podman wants a run root of at most 50 characters. */
  g_autoptr(Scratch) scratch = scratch_new_in("/tmp", error);
  if (!scratch)
    return FALSE;
  g_autofree char *root = g_build_filename(scratch->path, "root", NULL);
  g_autofree char *run = g_build_filename(scratch->path, "run", NULL);
  g_autofree char *home = g_build_filename(root, driver, NULL);
  const char *argv[] = {podman_program(),
                        "--root",
                        root,
                        "--runroot",
                        run,
                        "--storage-driver",
                        driver,
                        "info",
                        "--format",
                        "{{.Store.GraphDriverName}}",
                        NULL};
  RunProgram program = {
      .argv = argv, .what = "podman info", .hint = "install podman, or name it with --podman"};
  gboolean has = run_program(&program, NULL, &local);
  /* A driver may mount its home on itself. */
  umount2(home, MNT_DETACH);
  if (!has && !strstr(local->message, "driver not supported")) {
    g_propagate_error(error, g_steal_pointer(&local));
    return FALSE;
  }
  *ret_has = has;
  return TRUE;
}
