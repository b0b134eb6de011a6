/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cache-entries.h"
#include "command.h"
#include "fuseserver.h"
#include "modes.h"
#include "output.h"
#include "podman-info.h"
#include "podman.h"
#include "settings.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static gboolean option_json;

static const GOptionEntry info_options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

/* What could not be found out is an object with the reason: the rest is shown all the same. */
static json_t *
json_of_error(const GError *error)
{
  return json_pack("{s:o}", "error", output_json_text(error->message));
}

static json_t *
describe_kernel(void)
{
  struct utsname name;
  if (uname(&name) < 0)
    return json_null();
  return json_pack("{s:s, s:s, s:s}", "name", name.sysname, "release", name.release, "machine",
                   name.machine);
}

static json_t *
describe_nix(void)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *version = store_query_version(&error);
  json_t *nix = version ? json_object() : json_of_error(error);
  const char *last = version ? strrchr(version, ' ') : NULL;
  if (version)
    json_object_set_new(nix, "version", output_json_text(last ? last + 1 : version));
  json_object_set_new(nix, "store", output_json_text(store_directory()));
  json_object_set_new(nix, "storeExists", json_boolean(access(store_directory(), F_OK) == 0));
  return nix;
}

static json_t *
text_or_null(const char *text)
{
  return text ? output_json_text(text) : json_null();
}

static json_t *
describe_podman(void)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *program = g_find_program_in_path(podman_program());
  g_autoptr(PodmanInfo) info = podman_info_new(&error);
  gboolean has_driver = FALSE;
  json_t *podman = info ? json_object() : json_of_error(error);
  json_object_set_new(podman, "program", text_or_null(program));
  gboolean is_known = program && podman_has_driver("nixstore", &has_driver, NULL);
  json_object_set_new(podman, "hasDriver", is_known ? json_boolean(has_driver) : json_null());
  if (!info)
    return podman;
  json_object_set_new(podman, "version", output_json_text(info->version));
  json_object_set_new(podman, "rootless", json_boolean(info->is_rootless));
  json_object_set_new(podman, "storageDriver", output_json_text(info->driver));
  json_object_set_new(podman, "graphRoot", output_json_text(info->graph_root));
  json_object_set_new(podman, "runRoot", output_json_text(info->run_root));
  json_object_set_new(podman, "configFile", text_or_null(info->config_file));
  json_object_set_new(podman, "mountProgram", text_or_null(info->mount_program));
  json_object_set_new(podman, "mountProgramSource", text_or_null(info->mount_program_source));
  return podman;
}

static json_t *
describe_settings(void)
{
  json_t *settings = json_array();
  SettingsEntry entry;
  for (guint i = 0; settings_describe(i, &entry); i++) {
    const char *value = entry.value, *source = entry.source;
    if (!value && strcmp(entry.key, "store") == 0) {
      value = store_directory();
      source = g_getenv("NIX_STORE_DIR") ? "NIX_STORE_DIR" : source;
    }
    json_array_append_new(settings,
                          json_pack("{s:s, s:o, s:o}", "key", entry.key, "value",
                                    text_or_null(value), "source", output_json_text(source)));
  }
  return settings;
}

static json_t *
describe_passthrough(const Settings *settings)
{
  g_autoptr(GError) error = NULL;
  gboolean ok = fuseserver_try_passthrough(store_directory(), &error);
  return json_pack("{s:b, s:b, s:o?}", "wanted", strcmp(settings->fuse_passthrough, "true") == 0,
                   "available", ok, "reason", ok ? NULL : output_json_text(error->message));
}

static json_t *
describe_cache(void)
{
  g_autoptr(GError) error = NULL;
  const Settings *settings = settings_get(&error);
  g_autoptr(Cache) cache = settings ? cache_open(&error) : NULL;
  g_autoptr(GPtrArray) entries = cache ? cache_list_entries(cache, FALSE, &error) : NULL;
  json_t *out = entries ? json_object() : json_of_error(error);
  guint64 size = 0, limit = 0;
  guint counts[CACHE_REMNANT + 1] = {0};
  if (settings)
    json_object_set_new(out, "path", output_json_text(settings->cache));
  if (!entries)
    return out;
  for (guint i = 0; i < entries->len; i++) {
    const CacheEntry *entry = entries->pdata[i];
    counts[entry->kind]++;
    size += entry->size;
  }
  util_parse_size(settings->cache_limit, &limit);
  json_object_set_new(out, "indexes", json_integer(counts[CACHE_INDEX]));
  json_object_set_new(out, "verdicts", json_integer(counts[CACHE_VERDICT]));
  json_object_set_new(out, "size", json_integer((json_int_t)size));
  json_object_set_new(out, "limit", limit ? json_integer((json_int_t)limit) : json_null());
  return out;
}

static json_t *
info_collect(void)
{
  g_autoptr(GError) no_settings = NULL;
  g_autoptr(GError) no_modes = NULL;
  const Settings *settings = settings_get(&no_settings);
  g_autoptr(json_t) modes = settings ? modes_probe(&no_modes) : NULL;
  json_t *chosen = modes ? modes_choose(modes, settings->mode) : NULL;
  json_t *info = json_object();
  json_object_set_new(info, "kernel", describe_kernel());
  json_object_set_new(info, "nix", describe_nix());
  json_object_set_new(info, "podman", describe_podman());
  if (modes)
    json_object_set(info, "modes", modes);
  else
    json_object_set_new(info, "modes", json_of_error(settings ? no_modes : no_settings));
  json_object_set_new(info, "chosen",
                      chosen ? json_pack("{s:s, s:O, s:O}", "setting", settings->mode, "mode",
                                         json_object_get(chosen, "mode"), "way",
                                         json_object_get(chosen, "way"))
                             : json_null());
  json_object_set_new(info, "fusePassthrough",
                      settings ? describe_passthrough(settings) : json_null());
  json_object_set_new(info, "settings",
                      settings ? describe_settings() : json_of_error(no_settings));
  json_object_set_new(info, "cache", describe_cache());
  return info;
}

static const char *
text_of(json_t *object, const char *name)
{
  return json_string_value(json_object_get(object, name));
}

static void
print_podman(json_t *podman)
{
  g_autofree char *head = NULL;
  json_t *has = json_object_get(podman, "hasDriver");
  const char *program = text_of(podman, "program");
  if (text_of(podman, "error")) {
    output_field("Podman", text_of(podman, "error"));
  } else {
    g_autofree char *version =
        g_strconcat(text_of(podman, "version"), ", ", program,
                    json_is_true(json_object_get(podman, "rootless")) ? ", rootless" : "", NULL);
    g_autofree char *storage =
        g_strconcat(text_of(podman, "storageDriver"), " in ", text_of(podman, "graphRoot"), NULL);
    const char *mounter = text_of(podman, "mountProgram");
    const char *source = text_of(podman, "mountProgramSource");
    g_autofree char *mount_program =
        mounter ? g_strdup_printf("%s (%s)", mounter, source ? source : "default")
                : g_strdup("the kernel alone: no mount_program");
    output_field("Podman", version);
    output_field("  storage", storage);
    output_field("  mounts with", mount_program);
  }
  if (program)
    output_field("  driver", json_is_true(has)    ? "nixstore is built in"
                             : json_is_false(has) ? "nixstore is not built in"
                                                  : "unknown whether nixstore is built in");
}

static void
print_modes(json_t *modes, json_t *chosen)
{
  gsize i;
  json_t *row;
  const char *label = "Modes";
  if (json_is_object(modes))
    output_field(label, text_of(modes, "error"));
  json_array_foreach(modes, i, row)
  {
    const char *way = text_of(row, "way"), *reason = text_of(row, "reason");
    g_autofree char *line = g_strdup_printf(
        "%-11s %-4s %s%s", text_of(row, "mode"), way ? "yes" : "no", way ? way : reason,
        json_is_true(json_object_get(row, "automatic")) ? "" : " (only on request)");
    output_field(label, line);
    label = "";
  }
  if (json_is_null(chosen)) {
    output_field("Chosen", "none");
    return;
  }
  g_autofree char *line = g_strdup_printf("%s, %s (mode=%s)", text_of(chosen, "mode"),
                                          text_of(chosen, "way"), text_of(chosen, "setting"));
  output_field("Chosen", line);
}

static void
print_passthrough(json_t *passthrough)
{
  gboolean wanted = json_is_true(json_object_get(passthrough, "wanted"));
  const char *reason = text_of(passthrough, "reason");
  const char *state = reason ? "no: " : wanted ? "yes" : "no, but it could be had";
  g_autofree char *line = g_strdup_printf("%s%s (fuse_passthrough=%s)", state, reason ? reason : "",
                                          wanted ? "true" : "false");
  if (!json_is_null(passthrough))
    output_field("Passthrough", line);
}

static void
print_settings(json_t *settings)
{
  gsize i;
  json_t *row;
  int width = 0;
  const char *label = "Settings";
  if (json_is_object(settings))
    output_field(label, text_of(settings, "error"));
  json_array_foreach(settings, i, row)
  {
    const char *value = text_of(row, "value");
    width = MAX(width, value ? (int)strlen(value) : 0);
  }
  json_array_foreach(settings, i, row)
  {
    const char *value = text_of(row, "value");
    g_autofree char *line = g_strdup_printf("%-18s %-*s  %s", text_of(row, "key"), width,
                                            value ? value : "", text_of(row, "source"));
    output_field(label, line);
    label = "";
  }
}

static void
print_cache(json_t *cache)
{
  const char *failed = text_of(cache, "error");
  if (failed) {
    output_field("Cache", failed);
    return;
  }
  json_t *limit = json_object_get(cache, "limit");
  g_autofree char *size = output_size((guint64)json_integer_value(json_object_get(cache, "size")));
  g_autofree char *most =
      json_is_null(limit) ? g_strdup("no limit") : output_size((guint64)json_integer_value(limit));
  g_autofree char *line = g_strdup_printf(
      "%s of %s: indexes %" JSON_INTEGER_FORMAT ", verdicts %" JSON_INTEGER_FORMAT ", in %s", size,
      most, json_integer_value(json_object_get(cache, "indexes")),
      json_integer_value(json_object_get(cache, "verdicts")), text_of(cache, "path"));
  output_field("Cache", line);
}

static void
info_print(json_t *info)
{
  json_t *kernel = json_object_get(info, "kernel"), *nix = json_object_get(info, "nix");
  g_autofree char *system = g_strdup_printf("%s %s, %s", text_of(kernel, "name"),
                                            text_of(kernel, "release"), text_of(kernel, "machine"));
  const char *version = text_of(nix, "version");
  g_autofree char *store =
      g_strconcat(text_of(nix, "store"),
                  json_is_true(json_object_get(nix, "storeExists")) ? "" : " (missing)", NULL);
  output_field("Kernel", system);
  output_field("Nix", version ? version : text_of(nix, "error"));
  output_field("  store", store);
  print_podman(json_object_get(info, "podman"));
  print_modes(json_object_get(info, "modes"), json_object_get(info, "chosen"));
  print_passthrough(json_object_get(info, "fusePassthrough"));
  print_settings(json_object_get(info, "settings"));
  print_cache(json_object_get(info, "cache"));
}

static gboolean
info_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(json_t) info = info_collect();
  if (option_json)
    output_json(info);
  else
    info_print(info);
  return TRUE;
}

const Command command_info = {
    .name = "info",
    .arguments = "",
    .summary = "Show what this host can do and how it is set up",
    .description =
        "Shows kernel, Nix and Podman, which modes work here (each is tried with a tiny image) or\n"
        "why not, which one mounts would use, and the settings with where each comes from.",
    .options = info_options,
    .podman = TRUE,
    .min_arguments = 0,
    .max_arguments = 0,
    .run = info_run,
};
