/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "add.h"
#include "nar.h"
#include "place.h"
#include "scratch.h"
#include "store.h"
#include "util.h"

static gboolean
write_to_worker(void *worker, const void *piece, gsize size, GError **error)
{
  return nix_worker_write(worker, piece, size, error);
}

static char *
add_by_worker(NixWorker *worker, const StagedImage *image, GError **error)
{
  if (!nix_worker_begin_add(worker, image->name, error) ||
      !nar_write(image, write_to_worker, worker, error))
    return NULL;
  return nix_worker_end_add(worker, error);
}

static char *
add_by_copy(const StagedImage *image, GError **error)
{
  g_autoptr(Scratch) scratch = scratch_new(error);
  g_autofree char *path = NULL;

  if (scratch == NULL || !place_image(image, scratch->fd, error))
    return NULL;
  path = g_build_filename(scratch->path, image->name, NULL);
  return store_add(path, error);
}

char *
add_image(const StagedImage *image, NixWorker **ret_worker, GError **error)
{
  g_autoptr(NixWorker) worker = NULL;
  char *store_path;

  if (!stage_check_paths(image->tree, error))
    return NULL;
  worker = nix_worker_open(NULL);
  store_path = worker != NULL ? add_by_worker(worker, image, error) : add_by_copy(image, error);
  if (store_path != NULL)
    *ret_worker = g_steal_pointer(&worker);
  return store_path;
}
