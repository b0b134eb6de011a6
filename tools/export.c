/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "argument.h"
#include "command.h"
#include "export-layout.h"
#include "references.h"
#include "scratch.h"
#include "skopeo.h"
#include "store.h"
#include "util.h"

#include <string.h>

#define STORAGE_TRANSPORT "containers-storage:"

static char *option_name;
static char *option_compress;

static const GOptionEntry export_options[] = {
    {"compress", 0, 0, G_OPTION_ARG_STRING, &option_compress,
     "Compression of the layer: gzip, zstd or none [gzip]", "METHOD"},
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name,
     "What the image is called in DEST [localhost/NAME:latest]", "NAME[:TAG]"},
    SKOPEO_OPTIONS,
    {0},
};

/* The kinds of destination that we write ourselves. */
typedef struct {
  const char *transport;
  gboolean directory;
  gboolean compresses; /* the layer may be compressed */
  gboolean (*write)(const ExportImage *image, int fd, const char *path, GError **error);
} ExportKind;

static const ExportKind export_kinds[] = {
    {"oci-archive", FALSE, TRUE, export_oci_archive},
    {"oci", TRUE, TRUE, export_oci_directory},
    {"docker-archive", FALSE, FALSE, export_docker_archive},
};

/* Those that skopeo(1) writes for us, from an OCI layout. */
static const char *const skopeo_transports[] = {"docker",        "dir",    "containers-storage",
                                                "docker-daemon", "ostree", NULL};

typedef struct {
  const ExportKind *kind; /* NULL: skopeo's */
  char *path;             /* "-": standard output; with skopeo, its whole name of the destination */
  char *name;             /* of the image; NULL where DEST has none */
} Destination;

static void
destination_clear(Destination *destination)
{
  g_free(destination->path);
  g_free(destination->name);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Destination, destination_clear)

static gboolean
destination_parse(const char *text, Destination *destination, GError **error)
{
  const char *colon = strchr(text, ':');
  g_autofree char *transport = colon ? g_strndup(text, (gsize)(colon - text)) : NULL;
  for (gsize i = 0; transport && i < G_N_ELEMENTS(export_kinds); i++)
    if (strcmp(transport, export_kinds[i].transport) == 0)
      destination->kind = &export_kinds[i];
  if (!destination->kind) {
    if (!transport || !g_strv_contains(skopeo_transports, transport))
      return command_error_usage(error,
                                 "`%s' is no destination: it starts with oci-archive:, oci:, "
                                 "docker-archive: or another transport of skopeo(1)",
                                 text);
    destination->path = g_strdup(text);
    return TRUE;
  }
  /* As in skopeo, what follows a further colon is the image's name. */
  const char *path = colon + 1;
  const char *name = strchr(path, ':');
  destination->path = name ? g_strndup(path, (gsize)(name - path)) : g_strdup(path);
  /* "out/" is the directory out, also where that is still to be made. */
  for (gsize size = strlen(destination->path);
       destination->kind->directory && size > 1 && destination->path[size - 1] == '/'; size--)
    destination->path[size - 1] = '\0';
  destination->name = name ? argument_image_name(name + 1, error) : NULL;
  if (name && !destination->name)
    return FALSE;
  if (!*destination->path)
    return command_error_usage(error, "`%s' names no file", text);
  if (destination->kind->directory && strcmp(destination->path, "-") == 0)
    return command_error_usage(error, "a directory cannot go to standard output");
  return TRUE;
}

/* Copies the file @fd from its start to standard output. */
static gboolean
copy_to_stdout(int fd, GError **error)
{
  const gsize size = 1024 * 1024;
  g_autofree guint8 *buffer = g_malloc(size);
  if (lseek(fd, 0, SEEK_SET) < 0)
    return util_error_errno(error, "read the archive again");
  for (;;) {
    gssize n = read(fd, buffer, size);
    if (n < 0)
      return util_error_errno(error, "read the archive again");
    if (n == 0)
      return TRUE;
    if (!util_write_all(STDOUT_FILENO, buffer, (gsize)n))
      return util_error_errno(error, "write standard output");
  }
}

static gboolean
export_to_stdout(const ExportImage *image, const ExportKind *kind, GError **error)
{
  if (isatty(STDOUT_FILENO))
    return command_error_usage(error, "standard output is a terminal: send the archive elsewhere");
  autofd int fd = scratch_open_file(error);
  return fd >= 0 && kind->write(image, fd, "a temporary file", error) && copy_to_stdout(fd, error);
}

/* What @name leads to, which is written to as cp(1) does: symlinks stay, and one to nothing is an
 * error. Caller frees. */
static char *
resolve_destination(const char *name, GError **error)
{
  struct stat st;
  if (lstat(name, &st) < 0 || !S_ISLNK(st.st_mode))
    return g_strdup(name);
  char *target = realpath(name, NULL);
  if (!target)
    util_error_errno(error, "follow the symlink %s", name);
  return target;
}

static gboolean
export_to_path(const ExportImage *image, const ExportKind *kind, const char *name, GError **error)
{
  struct stat st;
  g_autofree char *path = resolve_destination(name, error);
  if (!path)
    return FALSE;
  if (!kind->directory && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return util_error(error, NIXSTORE_ERROR_FAILED, "write %s: it exists and is no regular file",
                      path);
  gboolean within = kind->directory && lstat(path, &st) == 0;
  g_autoptr(Scratch) scratch =
      within ? scratch_new_within(path, error) : scratch_new_beside(path, kind->directory, error);
  return scratch && kind->write(image, scratch->fd, path, error) &&
         (within ? scratch_commit_within : scratch_commit)(scratch, path, error);
}

static gboolean
export_through_skopeo(const ExportImage *image, const char *destination, GError **error)
{
  g_autoptr(Scratch) scratch = scratch_new(error);
  if (!scratch)
    return FALSE;
  g_autofree char *layout = g_build_filename(scratch->path, "oci", NULL);
  g_autofree char *source = g_strconcat("oci:", layout, NULL);
  const SkopeoCopy copy = {
      .source = source, .destination = destination, .side = "dest", .tmpdir = scratch->path};
  if (mkdir(layout, 0700) < 0)
    return util_error_errno(error, "make %s", layout);
  autofd int fd = open(layout, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return util_error_errno(error, "open %s", layout);
  return export_oci_directory(image, fd, layout, error) && skopeo_copy(&copy, error);
}

static gboolean
export_image(const ExportImage *image, const Destination *destination, GError **error)
{
  if (!destination->kind)
    return export_through_skopeo(image, destination->path, error);
  if (strcmp(destination->path, "-") == 0)
    return export_to_stdout(image, destination->kind, error);
  return export_to_path(image, destination->kind, destination->path, error);
}

static gboolean
choose_compression(const Destination *destination, LayerCompression *ret_compression,
                   GError **error)
{
  gboolean compresses = !destination->kind || destination->kind->compresses;
  *ret_compression = compresses ? LAYER_GZIP : LAYER_NONE;
  if (!option_compress)
    return TRUE;
  if (!layer_compression_parse(option_compress, ret_compression))
    return command_error_usage(error, "unknown compression `%s': gzip, zstd or none",
                               option_compress);
  if (!compresses && *ret_compression != LAYER_NONE)
    return command_error_usage(error, "layers in a docker-archive are not compressed");
  return TRUE;
}

static gboolean
export_run(char **arguments, int n_arguments, GError **error)
{
  g_auto(Destination) destination = {0};
  ExportImage it = {0};
  g_autofree char *store_path = NULL;
  if (!destination_parse(arguments[1], &destination, error) ||
      !choose_compression(&destination, &it.compression, error))
    return FALSE;
  if (!destination.kind && podman_is_named() &&
      g_str_has_prefix(destination.path, STORAGE_TRANSPORT) &&
      destination.path[strlen(STORAGE_TRANSPORT)] != '[')
    return command_error_usage(error,
                               "the options for Podman say where IMAGE is; of DEST say it in "
                               "brackets, as in " STORAGE_TRANSPORT "[overlay@ROOT+RUNROOT]NAME");
  if (skopeo_has_options() && (destination.kind || !g_str_has_prefix(destination.path, "docker:")))
    return command_error_usage(error, "--authfile and --tls-verify are for docker://");
  /* There is nowhere to put it, and the image would be called otherwise than was asked for. */
  if (option_name && !destination.kind)
    return command_error_usage(error, "--name is for oci-archive:, oci: and docker-archive:, "
                                      "elsewhere DEST itself names the image");
  g_autofree char *named = option_name ? argument_image_name(option_name, error) : NULL;
  if (option_name && !named)
    return FALSE;
  store_path = references_argument_path(arguments[0], NULL, error);
  g_autoptr(Image) image = store_path ? image_open(store_path, error) : NULL;
  g_autofree char *config = image ? image_read_config(image, &it.config_size, error) : NULL;
  g_autoptr(Tree) tree = config ? image_load_tree(image, error) : NULL;
  if (!tree)
    return FALSE;
  g_autofree char *fallback = argument_default_name(store_path);
  it.image = image;
  it.tree = tree;
  it.config = config;
  it.name = named ? named : destination.name ? destination.name : fallback;
  return export_image(&it, &destination, error);
}

const Command command_export = {
    .name = "export",
    .arguments = "STOREPATH|IMAGE DEST",
    .summary = "Write an image path as an ordinary image of one layer",
    .description =
        "Writes the image path as a complete image that needs no Nix store: DEST is\n"
        "oci-archive:FILE, oci:DIRECTORY or docker-archive:FILE (FILE may be `-', standard\n"
        "output), each with a further :NAME if wanted, or any other destination of skopeo(1).\n"
        "IMAGE is the name or the ID of an image in Podman's storage.",
    .options = export_options,
    .podman = TRUE,
    .min_arguments = 2,
    .max_arguments = 2,
    .run = export_run,
};
