/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "collapse.h"
#include "layer.h"
#include "progress.h"
#include "util.h"

void
collapsed_free(Collapsed *collapsed)
{
  if (collapsed == NULL)
    return;
  tree_free(collapsed->tree);
  stage_free(collapsed->stage);
  base_free(collapsed->base);
  g_free(collapsed);
}

static void
tick(void *data, guint64 consumed)
{
  const guint64 *total = ((void **)data)[1];

  progress_set(((void **)data)[0], consumed, *total);
}

/* Applies the layer of number @i, the lowest being 0. */
static gboolean
apply_layer(Collapsed *it, const Source *source, guint i, BlobStream *stream, LayerTarget *target,
            GError **error)
{
  const Blob *blob = g_ptr_array_index(source->layers, i);

  if (!layer_apply(target, stream, error)) {
    g_prefix_error(error, "layer %u of %u (%s): ", i + 1, source->layers->len,
                   blob->digest != NULL ? blob->digest : blob->diff_id);
    return FALSE;
  }
  if (i == 0) {
    if (!base_follow(&it->tree, it->stage, &it->base, error))
      return FALSE;
    target->tree = it->tree;
  } else if (base_is_reference(it->tree, target->layer)) {
    /* nixstore-mount would show that path's files. */
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "layer %u of %u refers to a path of the Nix store, which only the lowest "
                      "layer of an image can do here",
                      i + 1, source->layers->len);
  }
  return TRUE;
}

/* While one layer is applied the next is read ahead and decompressed. */
static gboolean
apply_layers(Collapsed *it, const Source *source, LayerTarget *target, GError **error)
{
  g_autoptr(BlobStream) stream = NULL, next = NULL;

  for (guint i = 0; i < source->layers->len; i++) {
    const Blob *blob = g_ptr_array_index(source->layers, i);

    stream = next != NULL ? g_steal_pointer(&next) : blob_stream_new(blob, target->budget);
    if (i + 1 < source->layers->len)
      next = blob_stream_new(g_ptr_array_index(source->layers, i + 1), target->budget);
    if (!apply_layer(it, source, i, stream, target, error))
      return FALSE;
    g_clear_pointer(&stream, blob_stream_free);
  }
  return TRUE;
}

Collapsed *
collapse_source(const Source *source, guint64 max_size, GError **error)
{
  g_autoptr(Progress) progress = progress_new("applying layers");
  guint64 total = source->layers_size;
  void *tick_data[] = {progress, &total};
  BlobBudget budget = {.max_size = max_size, .tick = tick, .tick_data = tick_data};
  g_autoptr(Collapsed) it = g_new0(Collapsed, 1);
  LayerTarget target = {.budget = &budget};

  it->stage = stage_new(error);
  if (it->stage == NULL)
    return NULL;
  it->tree = layer_new_tree();
  target.tree = it->tree;
  target.stage = it->stage;
  return apply_layers(it, source, &target, error) ? g_steal_pointer(&it) : NULL;
}
