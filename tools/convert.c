/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "argument.h"
#include "collapse.h"
#include "command.h"
#include "convert.h"
#include "image.h"
#include "import.h"
#include "manifest.h"
#include "output.h"
#include "podman.h"
#include "progress.h"
#include "replace-command.h"
#include "skopeo.h"
#include "source.h"
#include "stage.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

/* What an image may decompress to unless the user says otherwise: more than any image in use, less
 * than what a disk or a patience has. */
#define MAX_SIZE_DEFAULT (64 * G_GUINT64_CONSTANT(1024) * 1024 * 1024)

static char *option_name;
static char *option_platform;
static char *option_max_size;
static char *option_tag;
static char *option_add_root;
static gboolean option_import;
static gboolean option_replace;
static gboolean option_pulled;
static gboolean option_follow;
static gboolean option_json;

static const GOptionEntry convert_options[] = {
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name,
     "Name part of the store path [made of what SOURCE calls the image, else `image']", "NAME"},
    {"platform", 0, 0, G_OPTION_ARG_STRING, &option_platform,
     "Which image of a multi-platform index [this machine's]", "OS/ARCH[/VARIANT]"},
    {"max-size", 0, 0, G_OPTION_ARG_STRING, &option_max_size,
     "Refuse layers that decompress to more; K, M, G and T are powers of 1024, 0 is no limit [64G]",
     "BYTES"},
    {"import", 'i', 0, G_OPTION_ARG_NONE, &option_import,
     "Register the image with Podman, as `nixstore import' does", NULL},
    {"tag", 't', 0, G_OPTION_ARG_STRING, &option_tag,
     "With --import: what the image is called in Podman [localhost/NAME:latest]", "NAME[:TAG]"},
    {"add-root", 0, 0, G_OPTION_ARG_FILENAME, &option_add_root,
     "Make the symlink LINK to the path, which is a root of Nix's garbage collector while it is "
     "there",
     "LINK"},
    {"replace", 0, 0, G_OPTION_ARG_NONE, &option_replace,
     "SOURCE is an image that Podman has: convert it, and give its names to the result", NULL},
    {"pulled", 0, 0, G_OPTION_ARG_NONE, &option_pulled,
     "With --replace, without SOURCE: every image whose name is of a registry", NULL},
    {"follow", 0, 0, G_OPTION_ARG_NONE, &option_follow,
     "With --pulled, if the setting `convert' is pull: whenever Podman's list of images changes, "
     "until standard input ends",
     NULL},
    SKOPEO_OPTIONS,
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json,
     "Print JSON: an object, with --pulled an array of them", NULL},
    {0},
};

static gboolean
parse_max_size(const char *text, guint64 *ret_size, GError **error)
{
  *ret_size = MAX_SIZE_DEFAULT;
  return !text || util_parse_size(text, ret_size) ||
         command_error_usage(error, "--max-size: `%s' is no number of bytes", text);
}

/* Adds the image to the store, whose config is @source's. */
static char *
add_collapsed(const Source *source, const char *name, const Collapsed *collapsed,
              AddHold **ret_hold, GError **error)
{
  /* The paths first: a manifest has all of each on its line, however deep symlinks have led. */
  g_autoptr(GString) manifest =
      stage_check_paths(collapsed->tree, error) ? manifest_write(collapsed->tree, error) : NULL;

  if (manifest == NULL)
    return NULL;
  g_autofree char *hex = util_sha256_hex(manifest->str, manifest->len);
  g_autofree char *digest = g_strconcat("sha256:", hex, NULL);
  g_autofree char *json = image_serialise(source->config_digest, digest);
  StagedImage image = {name,
                       collapsed->tree,
                       collapsed->stage,
                       {{IMAGE_CONFIG, source->config, source->config_size},
                        {IMAGE_JSON, json, strlen(json)},
                        {IMAGE_MANIFEST, manifest->str, manifest->len}}};

  return add_image(&image, ret_hold, error);
}

/* Converts @source to an image path called @name (NULL: by what the source calls it) and returns
 * its store path; *ret_hold as for add_image(). The reference image of a path gives what the image
 * did from which that path was made, and so, unless it is to be called otherwise, the path itself.
 */
static char *
convert_source(Source *source, const char *name, guint64 max_size, AddHold **ret_hold,
               GError **error)
{
  g_autoptr(Collapsed) collapsed = collapse_source(source, max_size, error);
  g_autofree char *own_name = NULL;

  if (collapsed == NULL)
    return NULL;
  if (collapsed->base != NULL && base_is_all(collapsed->base, source)) {
    const char *path = collapsed->base->reference->store_path;

    if (name == NULL || strcmp(name, store_path_name(path)) == 0) {
      *ret_hold = g_steal_pointer(&collapsed->base->hold);
      return g_strdup(path);
    }
  }
  own_name = name != NULL ? g_strdup(name) : source_make_name(source);
  return add_collapsed(source, own_name, collapsed, ret_hold, error);
}

static void
tick(void *progress, guint64 done, guint64 total)
{
  progress_set(progress, done, total);
}

static Source *
open_source(const char *spec, guint64 max_size, GError **error)
{
  g_autoptr(SourcePlatform) platform = source_platform_new(option_platform, error);
  g_autoptr(Progress) progress = progress_new("reading the archive");
  /* skopeo is not told of the storage that Podman is: nor has it Podman's drivers. */
  SourceOptions options = {.platform = platform,
                           .check_platform = option_platform != NULL,
                           .max_size = max_size,
                           .tick = tick,
                           .tick_data = progress,
                           .save = podman_is_named() ? podman_save : NULL};

  return platform != NULL ? source_open(spec, &options, error) : NULL;
}

static void
print_result(const Source *source, const char *store_path, const Import *import)
{
  g_autoptr(json_t) object = NULL;

  if (!option_json) {
    printf("%s\n", store_path);
    return;
  }
  object = output_path_json(store_path, source->config_digest);
  json_object_set_new(object, "layers", json_integer(source->layers->len));
  if (import != NULL)
    output_add_podman_image(object, import->name, import->image_id);
  output_json(object);
}

char *
convert_image(const char *spec, const char *name, guint64 max_size, AddHold **ret_hold,
              GError **error)
{
  g_autoptr(Source) source = open_source(spec, max_size, error);

  return source != NULL ? convert_source(source, name, max_size, ret_hold, error) : NULL;
}

static gboolean
replace_run(const char *image, guint64 max_size, GError **error)
{
  const ReplaceOptions options = {option_name, max_size, option_json};

  if (option_import || option_platform != NULL || option_tag != NULL || option_add_root != NULL ||
      skopeo_has_options())
    return command_error_usage(error, "--import, --platform, --tag, --add-root, --authfile and "
                                      "--tls-verify do not go with --replace");
  if (option_pulled != (image == NULL) || (option_pulled && option_name != NULL))
    return command_error_usage(error, "--replace takes an image, or --pulled and no name");
  if (option_follow)
    return option_pulled ? replace_follow(&options, error)
                         : command_error_usage(error, "--follow is for --pulled");
  return option_pulled ? replace_pulled(&options, error) : replace_named(image, &options, error);
}

/* What would otherwise be found wrong after all the work. */
static gboolean
check_arguments(const char *spec, GError **error)
{
  g_autoptr(GError) local = NULL;
  g_autoptr(SourcePlatform) platform = source_platform_new(option_platform, &local);
  g_autofree char *image = NULL;

  if (platform == NULL || !source_check_spec(spec, &local))
    return command_error_usage(error, "%s", local->message);
  if (skopeo_has_options() && !g_str_has_prefix(spec, "docker:"))
    return command_error_usage(error, "--authfile and --tls-verify are for docker://");
  image = option_tag != NULL ? argument_image_name(option_tag, error) : NULL;
  return option_tag == NULL || image != NULL;
}

/* Nix makes the directories that are missing, and takes no file's place: both would come late. */
static gboolean
check_link(const char *link, GError **error)
{
  g_autofree char *directory = link != NULL ? g_path_get_dirname(link) : NULL;
  struct stat st;

  if (link == NULL)
    return TRUE;
  if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0)
    return util_error_errno(error, "make the GC root %s", link);
  if (lstat(link, &st) == 0 && !S_ISLNK(st.st_mode))
    return util_error(error, NIXSTORE_ERROR_FAILED,
                      "make the GC root %s: it exists and is no symlink", link);
  return TRUE;
}

static gboolean
convert_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(Source) source = NULL;
  g_autoptr(Import) import = NULL;
  g_autoptr(AddHold) hold = NULL;
  g_autofree char *store_path = NULL, *link = NULL;
  guint64 max_size = 0;
  gboolean ok;

  if (!parse_max_size(option_max_size, &max_size, error))
    return FALSE;
  if (option_tag != NULL && !option_import)
    return command_error_usage(error, "--tag is for --import");
  if (option_name != NULL && !store_name_is_valid(option_name))
    return command_error_usage(error,
                               "--name: `%s' is no name for the Nix store: letters, digits and "
                               "+-._?=, not starting with a dot",
                               option_name);
  if (option_replace)
    return replace_run(arguments[0], max_size, error);
  if (option_pulled || option_follow || n_arguments == 0)
    return command_error_usage(error, option_pulled   ? "--pulled is for --replace"
                                      : option_follow ? "--follow is for --pulled"
                                                      : "a SOURCE is missing");
  if (option_add_root != NULL)
    link = g_canonicalize_filename(option_add_root, NULL);
  if (!check_arguments(arguments[0], error) || !check_link(link, error))
    return FALSE;
  source = open_source(arguments[0], max_size, error);
  if (source == NULL)
    return FALSE;
  store_path = convert_source(source, option_name, max_size, &hold, error);
  if (store_path == NULL) {
    g_prefix_error(error, "%s: ", arguments[0]);
    return FALSE;
  }
  ok = link == NULL || store_add_root(store_path, link, error);
  if (ok && option_import)
    import = import_image(store_path, option_tag, error);
  /* The path is there, whatever became of the root and of the import. */
  print_result(source, store_path, import);
  return ok && (!option_import || import != NULL);
}

const Command command_convert = {
    .name = "convert",
    .arguments = "SOURCE | --replace IMAGE | --replace --pulled",
    .summary = "Collapse a container image into one path of the Nix store",
    .description =
        "Reads the image SOURCE, applies its layers and adds the file tree that they make to the\n"
        "Nix store, together with what the store itself does not keep (owners, modes, times,\n"
        "xattrs, devices). Prints the store path. SOURCE is named as for skopeo:\n"
        "  docker-archive:FILE[:NAME:TAG]  oci-archive:FILE[:NAME]  oci:DIRECTORY[:NAME]\n"
        "  dir:DIRECTORY                   docker://IMAGE           containers-storage:IMAGE",
    .options = convert_options,
    .podman = TRUE,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = convert_run,
};
