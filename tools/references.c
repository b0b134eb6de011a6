/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "references.h"
#include "argument.h"
#include "store.h"
#include "util.h"

#include <string.h>

static void
image_reference_free(ImageReference *entry)
{
  podman_image_free(entry->image);
  reference_free(entry->reference);
  g_free(entry);
}

/* The IDs of all of Podman's images, each once; NULL at the end. */
static GPtrArray *
podman_image_ids(GError **error)
{
  const char *arguments[] = {"images", "--quiet", "--no-trunc", NULL};
  g_autofree char *output = NULL;
  if (!podman_run(arguments, &output, error))
    return NULL;
  g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
  GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
  g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
  for (char **line = lines; *line; line++) {
    const char *id = g_str_has_prefix(*line, "sha256:") ? *line + strlen("sha256:") : *line;
    if (*id && g_hash_table_add(seen, (char *)id))
      g_ptr_array_add(ids, g_strdup(id));
  }
  g_ptr_array_add(ids, NULL);
  return ids;
}

/* Asked for one by one where an answer for all fails: an image may have gone in the meantime, or be
 * damaged. */
static GPtrArray *
podman_inspect_each(GPtrArray *ids, GPtrArray *left_out)
{
  GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)podman_image_free);
  for (guint i = 0; i + 1 < ids->len; i++) {
    g_autoptr(GError) local = NULL;
    PodmanImage *image = podman_inspect_image(ids->pdata[i], &local);
    if (image)
      g_ptr_array_add(images, image);
    else
      g_ptr_array_add(left_out, g_strdup(local->message));
  }
  return images;
}

GPtrArray *
references_list_images(GPtrArray *left_out, GError **error)
{
  g_autoptr(GPtrArray) ids = podman_image_ids(error);
  if (!ids)
    return NULL;
  GPtrArray *images =
      ids->len > 1 ? podman_inspect_images((const char *const *)ids->pdata, NULL) : NULL;
  return images ? images : podman_inspect_each(ids, left_out);
}

GPtrArray *
references_list(GPtrArray *left_out, GError **error)
{
  g_autoptr(GPtrArray) images = references_list_images(left_out, error);
  if (!images)
    return NULL;
  GPtrArray *entries = g_ptr_array_new_with_free_func((GDestroyNotify)image_reference_free);
  while (images->len > 0) {
    g_autoptr(PodmanImage) image = g_ptr_array_steal_index(images, 0);
    g_autoptr(GError) local = NULL;
    Reference *reference = NULL;
    if (!podman_image_reference(image, &reference, &local))
      g_ptr_array_add(left_out,
                      g_strdup_printf("%s: %s", podman_image_name(image), local->message));
    if (!reference)
      continue;
    ImageReference *entry = g_new0(ImageReference, 1);
    entry->image = g_steal_pointer(&image);
    entry->reference = reference;
    g_ptr_array_add(entries, entry);
  }
  return entries;
}

/* One question to the store for all that can be there; if it fails, one for each. */
void
references_look_up(GPtrArray *entries)
{
  g_autoptr(GPtrArray) there = g_ptr_array_new();
  g_autoptr(GPtrArray) paths = g_ptr_array_new();
  for (guint i = 0; i < entries->len; i++) {
    ImageReference *entry = entries->pdata[i];
    if (access(entry->reference->store_path, F_OK) != 0)
      continue;
    g_ptr_array_add(there, entry);
    g_ptr_array_add(paths, entry->reference->store_path);
  }
  g_ptr_array_add(paths, NULL);
  g_autofree guint64 *sizes = g_new0(guint64, there->len + 1);
  gboolean all = store_query_sizes((const char *const *)paths->pdata, sizes, NULL);
  for (guint i = 0; i < there->len; i++) {
    ImageReference *entry = there->pdata[i];
    entry->size = sizes[i];
    entry->present = all || store_query_size(entry->reference->store_path, &entry->size, NULL);
  }
}

char *
references_trusted_path(const PodmanImage *image, const char *name, GError **error)
{
  g_autoptr(Reference) reference = NULL;
  if (!podman_image_reference(image, &reference, error))
    return NULL;
  if (!reference) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "%s is an ordinary image, not one out of the Nix store (nixstore list shows those)",
               name);
    return NULL;
  }
  g_autofree char *hash = store_query_hash(reference->store_path, error);
  if (!hash)
    return NULL;
  if (strcmp(hash, reference->nar_hash) == 0)
    return g_strdup(reference->store_path);
  util_error(error, NIXSTORE_ERROR_UNTRUSTED,
             "%s refers to %s with the NAR hash %s, but the store has it with %s", name,
             reference->store_path, reference->nar_hash, hash);
  return NULL;
}

char *
references_argument_path(const char *argument, PodmanImage **ret_image, GError **error)
{
  g_autoptr(GError) no_path = NULL;
  /* What cannot be an image's name is meant as a path, and the error should say so. */
  gboolean path_meant = *argument == '/' || *argument == '.';
  char *path = argument_store_path(argument, &no_path);
  if (path)
    return path;
  if (path_meant) {
    g_propagate_error(error, g_steal_pointer(&no_path));
    return NULL;
  }
  g_autoptr(PodmanImage) image = podman_inspect_image(argument, error);
  path = image ? references_trusted_path(image, argument, error) : NULL;
  if (path && ret_image)
    *ret_image = g_steal_pointer(&image);
  return path;
}
