/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "reference-layer.h"
#include "session.h"
#include "store.h"
#include "util.h"

/* Podman does not flush what it unpacks, nor the name under which overlay knows a layer: after a
 * power failure its books, which it does flush, would name a layer that is no reference any more,
 * and containers start in an empty tree. */
static gboolean
flush_layer(const char *diff, GError **error)
{
  static const char *const parts[] = {
      REFERENCE_PATH, REFERENCE_DIRECTORY, ".", "../link", "..", "../../l", "../..",
  };
  for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
    g_autofree char *path = g_build_filename(diff, parts[i], NULL);
    autofd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
      return util_error_errno(error, "write %s to the disk", path);
  }
  return TRUE;
}

gboolean
reference_layer_check_is_here(const PodmanImage *image, GError **error)
{
  g_autofree char *layer = g_path_get_dirname(image->diffs[0]);
  g_autofree char *layers = g_path_get_dirname(layer);
  if (access(image->diffs[0], F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
    return TRUE;
  if (access(layers, F_OK) == 0 && !podman_is_remote())
    return TRUE;
  return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                    "Podman has its layers in %s, which is not on this host: run import where that "
                    "is, as it needs a local Podman and no remote one (CONTAINER_HOST)",
                    layers);
}

gboolean
reference_layer_add_root(const PodmanImage *image, const char *store_path, GError **error)
{
  if (!image->diffs[0])
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "Podman's storage driver here is %s, which cannot run images out of the Nix "
                      "store: use nixstore, or overlay with nixstore-mount as its mount_program",
                      image->driver);
  g_autofree char *layer = g_path_get_dirname(image->diffs[0]);
  g_autofree char *link = g_build_filename(layer, SESSION_GC_LINK, NULL);
  if (!flush_layer(image->diffs[0], error) || !store_add_root(store_path, link, error))
    return FALSE;
  if (access(image->diffs[0], F_OK) == 0)
    return TRUE;
  /* Somebody removed the image, and Nix made the directory anew, which nobody would remove. */
  util_error_errno(error, "read %s", image->diffs[0]);
  store_remove_root(link);
  rmdir(layer);
  return FALSE;
}

gboolean
reference_layer_is_whole(const PodmanImage *image, const Reference *reference)
{
  g_autoptr(Reference) found = NULL;
  g_autofree char *name = g_build_filename(image->diffs[0], "../link", NULL);
  struct stat st;
  return stat(name, &st) == 0 && st.st_size > 0 && podman_image_reference(image, &found, NULL) &&
         found && g_str_equal(found->store_path, reference->store_path) &&
         g_str_equal(found->nar_hash, reference->nar_hash);
}
