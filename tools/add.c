/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "add.h"
#include "nar.h"
#include "nix-worker.h"
#include "place.h"
#include "progress.h"
#include "scratch.h"
#include "store.h"
#include "util.h"

#define ADD_TRIES 5
/* In the scratch directory; no name of the store's begins with a dot. */
#define ADD_LINK ".gcroot"

struct AddHold {
  NixWorker *worker; /* has a temporary root for as long as it is open */
  Scratch *scratch;  /* or NULL; has the root @link */
  char *link;
};

typedef struct {
  NixWorker *worker;
  Progress *progress;
  guint64 done, total; /* bytes of the archive; its content's, the better part of it */
} Adding;

static gboolean
write_to_worker(void *data, const void *piece, gsize size, GError **error)
{
  Adding *it = data;

  it->done += size;
  progress_set(it->progress, MIN(it->done, it->total), it->total);
  return nix_worker_write(it->worker, piece, size, error);
}

static char *
add_by_worker(NixWorker *worker, const StagedImage *image, GError **error)
{
  g_autoptr(Progress) progress = progress_new("adding to the Nix store");
  Adding it = {worker, progress, 0, tree_content_size(image->tree)};

  for (guint i = 0; i < STAGED_FILES; i++)
    it.total += image->files[i].size;
  if (!nix_worker_begin_add(worker, image->name, error) ||
      !nar_write(image, write_to_worker, &it, error))
    return NULL;
  return nix_worker_end_add(worker, error);
}

static gboolean
is_gone(const char *path)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *hash = store_query_hash(path, &error);

  return g_error_matches(error, NIXSTORE_ERROR, NIXSTORE_ERROR_NOT_FOUND);
}

/* nix-store holds what it adds until it ends, so that a collection may come before the root @link.
 * Where there can't be a root the path is there all the same. */
static char *
add_until_held(const char *tree, const char *link, GError **error)
{
  for (guint tries = ADD_TRIES; tries > 0; tries--) {
    g_autofree char *store_path = store_add(tree, error);

    if (store_path == NULL || store_add_root(store_path, link, NULL) || !is_gone(store_path))
      return g_steal_pointer(&store_path);
  }
  util_error(error, NIXSTORE_ERROR_FAILED,
             "added to the Nix store %d times, and collected each time before it had a GC root",
             ADD_TRIES);
  return NULL;
}

static gboolean
hold_open(AddHold *hold, GError **error)
{
  hold->scratch = scratch_new(error);
  if (hold->scratch == NULL)
    return FALSE;
  hold->link = g_build_filename(hold->scratch->path, ADD_LINK, NULL);
  return TRUE;
}

static char *
add_by_copy(AddHold *hold, const StagedImage *image, GError **error)
{
  g_autofree char *tree = NULL, *store_path = NULL;

  if (!hold_open(hold, error) || !place_image(image, hold->scratch->fd, error))
    return NULL;
  tree = g_build_filename(hold->scratch->path, image->name, NULL);
  store_path = add_until_held(tree, hold->link, error);
  util_remove_tree(hold->scratch->fd, image->name, NULL);
  return g_steal_pointer(&store_path);
}

void
add_hold_free(AddHold *hold)
{
  if (hold == NULL)
    return;
  nix_worker_close(hold->worker);
  if (hold->link != NULL)
    store_remove_root(hold->link);
  g_free(hold->link);
  scratch_free(hold->scratch);
  g_free(hold);
}

AddHold *
add_hold_path(const char *store_path, GError **error)
{
  g_autoptr(AddHold) hold = g_new0(AddHold, 1);

  if (!hold_open(hold, error))
    return NULL;
  store_add_root(store_path, hold->link, NULL);
  return g_steal_pointer(&hold);
}

char *
add_image(const StagedImage *image, AddHold **ret_hold, GError **error)
{
  g_autoptr(AddHold) hold = g_new0(AddHold, 1);
  char *store_path;

  hold->worker = nix_worker_open(NULL);
  store_path = hold->worker != NULL ? add_by_worker(hold->worker, image, error)
                                    : add_by_copy(hold, image, error);
  if (store_path != NULL)
    *ret_hold = g_steal_pointer(&hold);
  return store_path;
}
