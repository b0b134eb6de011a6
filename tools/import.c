/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "import.h"
#include "argument.h"
#include "command.h"
#include "image.h"
#include "podman.h"
#include "reference-image.h"
#include "scratch.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

/* Beside `diff` in the layer's directory: Podman removes it with the layer. */
#define GC_ROOT_LINK "nixstore-gcroot"

void
import_free(Import *import)
{
  if (!import)
    return;
  g_free(import->name);
  g_free(import->image_id);
  g_free(import);
}

/* A GC root that holds the path while Podman loads the image, made in the meantime. */
typedef struct {
  const char *store_path;
  char *link;
  GThread *thread;
} Hold;

static gpointer
hold_thread(gpointer data)
{
  Hold *hold = data;
  GError *error = NULL;
  store_add_root(hold->store_path, hold->link, &error);
  return error;
}

static void
hold_start(Hold *hold, const char *store_path, const Scratch *scratch)
{
  hold->store_path = store_path;
  hold->link = g_build_filename(scratch->path, "gcroot", NULL);
  hold->thread = g_thread_new("gcroot", hold_thread, hold);
}

/* Waits for the root. The first to call it gets the thread's error. */
static gboolean
hold_join(Hold *hold, GError **error)
{
  GThread *thread = g_steal_pointer(&hold->thread);
  GError *found = thread ? g_thread_join(thread) : NULL;
  if (!found)
    return TRUE;
  g_propagate_error(error, found);
  return FALSE;
}

static void
hold_clear(Hold *hold)
{
  hold_join(hold, NULL);
  if (hold->link)
    store_remove_root(hold->link);
  g_clear_pointer(&hold->link, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Hold, hold_clear)

/* Checks the path and makes the reference image for it. */
static ReferenceImage *
reference_image_of_path(const char *store_path, const char *name, GError **error)
{
  /* The hash first: for a path that is gone, the store's error says what to do. */
  g_autoptr(Reference) reference = g_new0(Reference, 1);
  reference->nar_hash = store_query_hash(store_path, error);
  g_autoptr(Image) image = reference->nar_hash ? image_open(store_path, error) : NULL;
  if (!image)
    return NULL;
  gsize size;
  g_autofree char *config = image_read_config(image, &size, error);
  g_autoptr(Tree) tree = config ? image_load_tree(image, error) : NULL;
  if (!tree)
    return NULL;
  reference->store_path = g_strdup(store_path);
  reference->manifest_digest = g_strdup(image->manifest_digest);
  return reference_image_new(reference, config, size, name, error);
}

/* Ties the path's life to the layer of the reference image. */
static gboolean
import_add_root(const PodmanImage *image, const char *store_path, GError **error)
{
  if (!image->diffs[0])
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "Podman's storage driver here is %s, which cannot run images out of the Nix "
                      "store: use nixstore, or overlay with nixstore-mount as its mount_program",
                      image->driver);
  g_autofree char *layer = g_path_get_dirname(image->diffs[0]);
  g_autofree char *link = g_build_filename(layer, GC_ROOT_LINK, NULL);
  return store_add_root(store_path, link, error);
}

static gboolean
podman_load(const ReferenceImage *image, const Scratch *scratch, GError **error)
{
  g_autofree char *file = g_build_filename(scratch->path, "reference.tar", NULL);
  const char *arguments[] = {"load", "--quiet", "--input", file, NULL};
  return util_replace_file(scratch->fd, "reference.tar", image->archive->data, image->archive->len,
                           0600, error) &&
         podman_run(arguments, NULL, error);
}

/* The image was there: gives it the name if it lacks that. */
static gboolean
import_existing(Import *import, const PodmanImage *image, const char *store_path, GError **error)
{
  const char *arguments[] = {"tag", image->id, import->name, NULL};
  import->existed = g_strv_contains((const char *const *)image->names, import->name);
  return import_add_root(image, store_path, error) &&
         (import->existed || podman_run(arguments, NULL, error));
}

static gboolean
import_new(const char *store_path, const ReferenceImage *reference, const Scratch *scratch,
           GError **error)
{
  const char *undo[] = {"rmi", reference->id, NULL};
  if (!podman_load(reference, scratch, error))
    return FALSE;
  g_autoptr(PodmanImage) image = podman_inspect_image(reference->id, error);
  if (image && import_add_root(image, store_path, error))
    return TRUE;
  podman_run(undo, NULL, NULL);
  return FALSE;
}

Import *
import_image(const char *store_path, const char *name, GError **error)
{
  g_autoptr(Import) import = g_new0(Import, 1);
  g_auto(Hold) hold = {0};
  import->name = name ? argument_image_name(name, error) : argument_default_name(store_path);
  if (!import->name || !store_path_check(store_path, error))
    return NULL;
  g_autoptr(Scratch) scratch = scratch_new(error);
  if (!scratch)
    return NULL;
  hold_start(&hold, store_path, scratch);

  g_autoptr(ReferenceImage) reference = reference_image_of_path(store_path, import->name, error);
  if (!reference || !hold_join(&hold, error))
    return NULL;
  import->image_id = g_strdup(reference->id);
  /* Any failure is taken for "no such image": if it is another, loading fails for it too. */
  g_autoptr(PodmanImage) image = podman_inspect_image(reference->id, NULL);
  gboolean ok = image ? import_existing(import, image, store_path, error)
                      : import_new(store_path, reference, scratch, error);
  return ok ? g_steal_pointer(&import) : NULL;
}

static char *option_name;

static const GOptionEntry import_options[] = {
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name,
     "What the image is called in Podman [localhost/NAME:latest]", "NAME[:TAG]"},
    {0},
};

static gboolean
import_run(char **arguments, int n_arguments, GError **error)
{
  g_autofree char *store_path = argument_store_path(arguments[0], error);
  g_autoptr(Import) import = store_path ? import_image(store_path, option_name, error) : NULL;
  if (!import)
    return FALSE;
  if (import->existed)
    command_note("%s is there already, as %.12s", import->name, import->image_id);
  printf("%s\n", import->name);
  return TRUE;
}

const Command command_import = {
    .name = "import",
    .arguments = "STOREPATH",
    .summary = "Register an image path with Podman",
    .description =
        "Puts a reference image of about 10 kB into Podman's storage, which stands for the image\n"
        "path STOREPATH, and makes the path a GC root for as long as Podman has that image.\n"
        "Prints the image's name.",
    .options = import_options,
    .podman = TRUE,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = import_run,
};
