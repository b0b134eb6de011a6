/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "podman.h"
#include "json-text.h"
#include "run.h"
#include "session.h"
#include "util.h"

#include <string.h>

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

const char *
podman_program(void)
{
  return option_podman ? option_podman : "podman";
}

gboolean
podman_option_names(const char *text)
{
  for (char **option = option_storage_opt; option && *option; option++)
    if (strstr(*option, text))
      return TRUE;
  return FALSE;
}

gboolean
podman_chooses_storage(void)
{
  return option_root || option_storage_driver || option_storage_opt;
}

gboolean
podman_is_named(void)
{
  return option_podman || option_runroot || podman_chooses_storage();
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

/* @options: what of it differs from call to call; argv, what and hint are set here. */
static gboolean
run(const char *const *arguments, const RunProgram *options, char **ret_output, GError **error)
{
  g_autoptr(GPtrArray) argv = podman_argv(arguments);
  /* "podman image inspect", without options and images. */
  gboolean two = arguments[1] && g_str_equal(arguments[0], "image");
  g_autofree char *what =
      g_strconcat("podman ", arguments[0], two ? " " : "", two ? arguments[1] : "", NULL);
  RunProgram program = *options;
  program.argv = (const char *const *)argv->pdata;
  program.what = what;
  program.hint = "install podman, or name it with --podman";
  return run_program(&program, ret_output, error);
}

gboolean
podman_run(const char *const *arguments, char **ret_output, GError **error)
{
  return run(arguments, &(RunProgram){0}, ret_output, error);
}

gboolean
podman_load(const char *file, const char *format, const char *tmpdir, GError **error)
{
  const char *arguments[] = {"load", "--quiet", "--input", file, NULL};
  /* It tries all formats, and says of each why it was not that. */
  g_autofree char *telling = g_strdup_printf("* %s: ", format);
  return run(arguments, &(RunProgram){.tmpdir = tmpdir, .telling = telling}, NULL, error);
}

gboolean
podman_has_image(const char *image, gboolean *ret_has, GError **error)
{
  const char *arguments[] = {"image", "exists", image, NULL};
  int status;
  gboolean has = run(arguments, &(RunProgram){.ret_status = &status}, NULL, error);
  /* podman-image-exists(1): 1 is no, 125 an error. */
  if (!has && status != 1)
    return FALSE;
  if (!has)
    g_clear_error(error);
  *ret_has = has;
  return TRUE;
}

gboolean
podman_is_remote(void)
{
  const char *arguments[] = {"info", "--format", "{{.Host.ServiceIsRemote}}", NULL};
  g_autofree char *answer = NULL;
  return podman_run(arguments, &answer, NULL) && g_str_has_prefix(answer, "true");
}

char *
podman_save(const char *image, const char *directory, GError **error)
{
  const char *inspect[] = {"image", "inspect", "--format", "{{.ManifestType}}", "--", image, NULL};
  g_autofree char *type = NULL;
  if (!podman_run(inspect, &type, error))
    return NULL;
  const char *format = strstr(type, "docker") ? "docker-archive" : "oci-archive";
  g_autofree char *file = g_build_filename(directory, "image.tar", NULL);
  const char *save[] = {"save", "--quiet", "--format", format, "--output", file, "--", image, NULL};
  return podman_run(save, NULL, error) ? g_strconcat(format, ":", file, NULL) : NULL;
}

void
podman_image_free(PodmanImage *image)
{
  if (!image)
    return;
  g_free(image->id);
  g_strfreev(image->names);
  g_free(image->driver);
  g_strfreev(image->diffs);
  g_free(image);
}

static char **
strings_from_json(json_t *array)
{
  GPtrArray *strings = g_ptr_array_new();
  gsize i;
  json_t *item;
  json_array_foreach(array, i, item) if (json_is_string(item))
      g_ptr_array_add(strings, g_strdup(json_string_value(item)));
  g_ptr_array_add(strings, NULL);
  return (char **)g_ptr_array_free(strings, FALSE);
}

/* The overlay driver gives LowerDir as for its mount: the uppermost first, separated by colons. */
static char **
diffs_from_json(json_t *data)
{
  const char *upper = json_string_value(json_object_get(data, "UpperDir"));
  const char *lower = json_string_value(json_object_get(data, "LowerDir"));
  GPtrArray *diffs = g_ptr_array_new();
  g_auto(GStrv) lowers = g_strsplit(lower ? lower : "", ":", -1);
  for (guint i = g_strv_length(lowers); upper && i-- > 0;)
    g_ptr_array_add(diffs, g_strdup(lowers[i]));
  if (upper)
    g_ptr_array_add(diffs, g_strdup(upper));
  g_ptr_array_add(diffs, NULL);
  return (char **)g_ptr_array_free(diffs, FALSE);
}

static PodmanImage *
image_from_json(json_t *object)
{
  const char *id = json_string_value(json_object_get(object, "Id"));
  json_t *graph = json_object_get(object, "GraphDriver");
  const char *driver = json_string_value(json_object_get(graph, "Name"));
  if (!id || !driver)
    return NULL;
  PodmanImage *image = g_new0(PodmanImage, 1);
  image->id = g_strdup(id);
  image->names = strings_from_json(json_object_get(object, "RepoTags"));
  image->driver = g_strdup(driver);
  image->diffs = diffs_from_json(json_object_get(graph, "Data"));
  return image;
}

/* What is read of an image. Its config is not asked for: an image may put texts into it that Go
 * takes and jansson does not. */
#define INSPECT_FORMAT                                                                             \
  "{\"Id\":{{json .ID}},\"RepoTags\":{{json .RepoTags}},\"GraphDriver\":{{json .GraphDriver}}}"

/* The images of Podman's answer, an object a line. */
static GPtrArray *
images_from_lines(const char *answer)
{
  GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)podman_image_free);
  g_auto(GStrv) lines = g_strsplit(answer, "\n", -1);
  for (char **line = lines; *line; line++) {
    json_t *object = **line ? json_parse(*line, strlen(*line), NULL) : NULL;
    PodmanImage *image = image_from_json(object);
    json_decref(object);
    if (image)
      g_ptr_array_add(images, image);
  }
  return images;
}

GPtrArray *
podman_inspect_images(const char *const *images, GError **error)
{
  g_autoptr(GPtrArray) arguments = g_ptr_array_new();
  g_autofree char *output = NULL;
  g_ptr_array_add(arguments, (char *)"image");
  g_ptr_array_add(arguments, (char *)"inspect");
  g_ptr_array_add(arguments, (char *)"--format");
  g_ptr_array_add(arguments, (char *)INSPECT_FORMAT);
  g_ptr_array_add(arguments, (char *)"--");
  guint n_before = arguments->len;
  for (; *images; images++)
    g_ptr_array_add(arguments, (char *)*images);
  guint n_images = arguments->len - n_before;
  g_ptr_array_add(arguments, NULL);
  if (!podman_run((const char *const *)arguments->pdata, &output, error))
    return NULL;
  g_autoptr(GPtrArray) result = images_from_lines(output);
  if (result->len == n_images)
    return g_steal_pointer(&result);
  util_error(error, NIXSTORE_ERROR_FAILED, "podman image inspect: its answer is not understood");
  return NULL;
}

PodmanImage *
podman_inspect_image(const char *image, GError **error)
{
  const char *images[] = {image, NULL};
  g_autoptr(GPtrArray) found = podman_inspect_images(images, error);
  return found ? g_ptr_array_steal_index(found, 0) : NULL;
}

/* The content directory of @image's lowest layer that has a reference, which goes to
 * *ret_reference; NULL, and *ret_reference too, for an ordinary image. */
static const char *
image_find_reference(const PodmanImage *image, Reference **ret_reference, GError **error)
{
  *ret_reference = NULL;
  for (char **diff = image->diffs; *diff; diff++) {
    autofd int fd = open(*diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      util_error_errno(error, "open the layer %s", *diff);
      return NULL;
    }
    if (!reference_read(fd, ret_reference, error)) {
      g_prefix_error(error, "%s: ", *diff);
      return NULL;
    }
    if (*ret_reference)
      return *diff;
  }
  return NULL;
}

gboolean
podman_image_reference(const PodmanImage *image, Reference **ret_reference, GError **error)
{
  GError *local = NULL;
  Reference *reference;
  image_find_reference(image, &reference, &local);
  if (local) {
    g_propagate_error(error, local);
    return FALSE;
  }
  *ret_reference = reference;
  return TRUE;
}

const char *
podman_image_name(const PodmanImage *image)
{
  return image->names[0] ? image->names[0] : image->id;
}

char *
podman_image_gc_link(const PodmanImage *image)
{
  g_autoptr(Reference) reference = NULL;
  const char *diff = image_find_reference(image, &reference, NULL);
  g_autofree char *layer = diff ? g_path_get_dirname(diff) : NULL;
  return layer ? g_build_filename(layer, SESSION_GC_LINK, NULL) : NULL;
}

char *
podman_find_image_list(GError **error)
{
  const char *arguments[] = {"info", "--format", "{{.Store.GraphRoot}}\t{{.Store.GraphDriverName}}",
                             NULL};
  g_autofree char *answer = NULL;
  if (option_root && option_storage_driver)
    answer = g_strjoin("\t", option_root, option_storage_driver, NULL);
  else if (!podman_run(arguments, &answer, error))
    return NULL;
  g_auto(GStrv) parts = g_strsplit(g_strchomp(answer), "\t", 2);
  if (g_strv_length(parts) != 2) {
    util_error(error, NIXSTORE_ERROR_FAILED, "podman info: its answer is not understood");
    return NULL;
  }
  g_autofree char *directory = g_strconcat(parts[1], "-images", NULL);
  return g_build_filename(parts[0], directory, "images.json", NULL);
}

gboolean
podman_can_mount(void)
{
  const char *arguments[] = {"info", "--format",
                             "{{.Store.GraphDriverName}}:"
                             "{{range $key, $value := .Store.GraphOptions}}{{$key}} {{end}}",
                             NULL};
  g_autofree char *answer = NULL;
  if (option_storage_driver && strcmp(option_storage_driver, "overlay") != 0)
    return TRUE;
  if (podman_option_names("mount_program="))
    return TRUE;
  return !podman_run(arguments, &answer, NULL) || !g_str_has_prefix(answer, "overlay:") ||
         strstr(answer, "mount_program");
}
