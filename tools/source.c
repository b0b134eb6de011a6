/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "source.h"
#include "scratch.h"
#include "skopeo.h"
#include "source-files.h"
#include "source-manifest.h"
#include "store.h"
#include "util.h"

#include <string.h>
#include <sys/utsname.h>

/* What a source keeps open. */
typedef struct {
  SourceFiles *files;
  Scratch *scratch; /* where skopeo put it; NULL */
} Private;

/* A row for each transport. @name: what follows the colon. */
typedef struct {
  const char *prefix;
  gboolean (*open)(Source *source, const char *spec, const char *name, const SourceOptions *options,
                   GError **error);
} Transport;

/* Go's name for this machine's architecture. */
static const char *
machine_architecture(void)
{
  static const char *const names[][2] = {
      {"x86_64", "amd64"}, {"aarch64", "arm64"}, {"i386", "386"},        {"i486", "386"},
      {"i586", "386"},     {"i686", "386"},      {"armv5", "arm"},       {"armv6", "arm"},
      {"armv7", "arm"},    {"armv8", "arm"},     {"mips64", "mips64le"}, {"loongarch64", "loong64"},
  };
  static struct utsname uts;

  uname(&uts);
  for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
    if (g_str_has_prefix(uts.machine, names[i][0]))
      return names[i][1];
  return uts.machine;
}

SourcePlatform *
source_platform_new(const char *text, GError **error)
{
  SourcePlatform *platform;
  g_auto(GStrv) parts = NULL;

  if (text == NULL) {
    platform = g_new0(SourcePlatform, 1);
    platform->os = g_strdup("linux");
    platform->architecture = g_strdup(machine_architecture());
    return platform;
  }
  parts = g_strsplit(text, "/", 4);
  if (g_strv_length(parts) < 2 || g_strv_length(parts) > 3 || *parts[0] == '\0' ||
      *parts[1] == '\0') {
    util_error(error, NIXSTORE_ERROR_INVALID, "`%s' is no platform: OS/ARCH or OS/ARCH/VARIANT",
               text);
    return NULL;
  }
  platform = g_new0(SourcePlatform, 1);
  platform->os = g_strdup(parts[0]);
  platform->architecture = g_strdup(parts[1]);
  platform->variant = g_strdup(parts[2]);
  return platform;
}

void
source_platform_free(SourcePlatform *platform)
{
  if (platform == NULL)
    return;
  g_free(platform->os);
  g_free(platform->architecture);
  g_free(platform->variant);
  g_free(platform);
}

void
source_free(Source *source)
{
  Private *private;

  if (source == NULL)
    return;
  private = source->private;
  source_files_free(private->files);
  scratch_free(private->scratch);
  g_free(private);
  g_free(source->reference);
  g_free(source->config);
  g_free(source->config_digest);
  g_ptr_array_unref(source->layers);
  g_free(source);
}

/* "PATH:REFERENCE", split at the first colon as containers/image does. */
static char *
split_path(const char *name, const char **ret_reference)
{
  const char *colon = strchr(name, ':');

  *ret_reference = colon != NULL && colon[1] != '\0' ? colon + 1 : NULL;
  return colon != NULL ? g_strndup(name, (gsize)(colon - name)) : g_strdup(name);
}

static gboolean
open_docker_archive(Source *source, const char *spec, const char *name,
                    const SourceOptions *options, GError **error)
{
  Private *private = source->private;
  const char *reference;
  g_autofree char *path = split_path(name, &reference);

  private->files = source_files_open_archive(path, options, error);
  return private->files != NULL &&
         source_read_docker_archive(source, private->files, reference, options, error);
}

static gboolean
open_oci_archive(Source *source, const char *spec, const char *name, const SourceOptions *options,
                 GError **error)
{
  Private *private = source->private;
  const char *reference;
  g_autofree char *path = split_path(name, &reference);

  private->files = source_files_open_archive(path, options, error);
  return private->files != NULL &&
         source_read_oci(source, private->files, reference, options, error);
}

static gboolean
open_oci(Source *source, const char *spec, const char *name, const SourceOptions *options,
         GError **error)
{
  Private *private = source->private;
  const char *reference;
  g_autofree char *path = split_path(name, &reference);

  private->files = source_files_open_directory(path, error);
  return private->files != NULL &&
         source_read_oci(source, private->files, reference, options, error);
}

static gboolean
open_dir(Source *source, const char *spec, const char *name, const SourceOptions *options,
         GError **error)
{
  Private *private = source->private;

  private->files = source_files_open_directory(name, error);
  return private->files != NULL && source_read_dir(source, private->files, options, error);
}

/* What is left of "docker.io/library/nginx:1.27" without the directories: "nginx:1.27"; and of
 * "[overlay@/var/lib/x]localhost/a", whose brackets say where the storage is. */
static const char *
last_component(const char *reference)
{
  const char *last = reference;

  for (const char *c = reference; *c != '\0'; c++)
    if (*c == '/' || *c == ']')
      last = c + 1;
  return last;
}

/* @name with the tag that a name without one stands for, as archives have it: the same image gets
 * the same name from wherever it comes. In Podman's storage it may also be an ID. Caller frees. */
static char *
complete_reference(const char *name)
{
  gboolean registry = g_str_has_prefix(name, "//");
  const char *reference = registry ? name + 2 : name;
  const char *last = last_component(reference);
  gboolean complete =
      strpbrk(last, ":@") != NULL || (!registry && last[strspn(last, "0123456789abcdef")] == '\0');

  return g_strconcat(reference, complete ? NULL : ":latest", NULL);
}

/* Has skopeo copy the image, config and manifest byte for byte, into a directory of ours. */
static gboolean
open_with_skopeo(Source *source, const char *spec, const char *name, const SourceOptions *options,
                 GError **error)
{
  Private *private = source->private;
  const SourcePlatform *platform = options->platform;
  g_autofree char *directory = NULL, *destination = NULL;
  const char *wanted[] = {"--override-os",
                          platform->os,
                          "--override-arch",
                          platform->architecture,
                          platform->variant != NULL ? "--override-variant" : NULL,
                          platform->variant,
                          NULL};

  private->scratch = scratch_new(error);
  if (private->scratch == NULL)
    return FALSE;
  directory = g_build_filename(private->scratch->path, "image", NULL);
  destination = g_strconcat("dir:", directory, NULL);
  const SkopeoCopy copy = {
      .source = spec,
      .destination = destination,
      .side = "src",
      .options = options->check_platform ? wanted : NULL,
      .tmpdir = private->scratch->path,
  };
  if (!skopeo_copy(&copy, error))
    return FALSE;
  source->reference = complete_reference(name);
  return open_dir(source, spec, directory, options, error);
}

static gboolean open_saved(Source *source, const char *spec, const SourceOptions *options,
                           GError **error);

/* A name that says itself where the storage is ("[overlay@/var/lib/x]app") is skopeo's. */
static gboolean
open_storage(Source *source, const char *spec, const char *name, const SourceOptions *options,
             GError **error)
{
  Private *private = source->private;
  g_autofree char *archive = NULL;

  if (options->save == NULL || *name == '[')
    return open_with_skopeo(source, spec, name, options, error);
  private->scratch = scratch_new(error);
  archive = private->scratch != NULL ? options->save(name, private->scratch->path, error) : NULL;
  if (archive == NULL || !open_saved(source, archive, options, error))
    return FALSE;
  g_free(source->reference);
  source->reference = complete_reference(name);
  return TRUE;
}

static const Transport transports[] = {
    {"oci-archive:", open_oci_archive},
    {"docker-archive:", open_docker_archive},
    {"oci:", open_oci},
    {"dir:", open_dir},
    {"docker:", open_with_skopeo},
    {"docker-daemon:", open_with_skopeo},
    {"containers-storage:", open_storage},
};

static const Transport *
find_transport(const char *spec, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS(transports); i++)
    if (g_str_has_prefix(spec, transports[i].prefix) && spec[strlen(transports[i].prefix)] != '\0')
      return &transports[i];
  util_error(error, NIXSTORE_ERROR_INVALID,
             "`%s' names no source: docker-archive:FILE, oci-archive:FILE, oci:DIR, dir:DIR, "
             "docker://IMAGE or containers-storage:IMAGE",
             spec);
  return NULL;
}

gboolean
source_check_spec(const char *spec, GError **error)
{
  return find_transport(spec, error) != NULL;
}

static gboolean
open_saved(Source *source, const char *spec, const SourceOptions *options, GError **error)
{
  const Transport *transport = find_transport(spec, error);

  return transport != NULL &&
         transport->open(source, spec, spec + strlen(transport->prefix), options, error);
}

Source *
source_open(const char *spec, const SourceOptions *options, GError **error)
{
  const Transport *transport = find_transport(spec, error);
  g_autoptr(Source) source = NULL;

  if (transport == NULL)
    return NULL;
  source = g_new0(Source, 1);
  source->private = g_new0(Private, 1);
  source->layers = g_ptr_array_new_with_free_func((GDestroyNotify)blob_free);
  if (!transport->open(source, spec, spec + strlen(transport->prefix), options, error)) {
    g_prefix_error(error, "%s: ", spec);
    return NULL;
  }
  return g_steal_pointer(&source);
}

char *
source_make_name(const Source *source)
{
  const char *last = last_component(source->reference != NULL ? source->reference : "");
  g_autofree char *name = g_strndup(last, strcspn(last, "@")); /* no digest */

  for (char *c = name; *c != '\0'; c++)
    if (!g_ascii_isalnum(*c) && strchr("+-._?=", *c) == NULL)
      *c = '-';
  if (strlen(name) > 128)
    name[128] = '\0';
  return store_name_is_valid(name) ? g_steal_pointer(&name) : g_strdup("image");
}
