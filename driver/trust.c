/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "trust.h"

#include <string.h>

#include "image.h"
#include "store.h"
#include "util.h"

/* The store path, open without following a symlink in its place. */
static int
trust_open_path(const char *path, GError **error)
{
  const char *store = store_directory();
  autofd int store_fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);

  if (store_fd < 0) {
    util_error_errno(error, "open the Nix store %s", store);
    return -1;
  }
  if (!cache_check_directory(store_fd, store, TRUE, error))
    return -1;
  int fd =
      openat(store_fd, path + strlen(store) + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT)
    util_error(error, NIXSTORE_ERROR_NOT_FOUND,
               "the image's files are gone: %s is not in the Nix store; get it back with "
               "`nix copy --from STORE %s' or `nix-copy-closure --from HOST %s'",
               path, path, path);
  else if (fd < 0)
    util_error_errno(error, "open %s", path);
  return fd;
}

static gboolean
trust_compare_hash(const Reference *reference, GError **error)
{
  g_autofree char *recorded = store_query_hash(reference->store_path, error);

  if (!recorded)
    return FALSE;
  if (strcmp(recorded, reference->nar_hash) != 0)
    return util_error(
        error, NIXSTORE_ERROR_UNTRUSTED,
        "not trusted: the image says that %s has the NAR hash %s, the Nix store says %s",
        reference->store_path, reference->nar_hash, recorded);
  return TRUE;
}

gboolean
trust_check_reference(Cache *cache, const Reference *reference, GError **error)
{
  struct stat st;

  if (!store_path_check(reference->store_path, error))
    return FALSE;
  autofd int fd = trust_open_path(reference->store_path, error);
  if (fd < 0)
    return FALSE;
  if (fstat(fd, &st) < 0)
    return util_error_errno(error, "look at %s", reference->store_path);
  g_autofree char *question = g_strdup_printf(
      "trust\n%s\n%s\n%s\n%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GINT64_FORMAT ".%09ld\n",
      reference->store_path, reference->nar_hash, reference->manifest_digest, (guint64)st.st_dev,
      (guint64)st.st_ino, (gint64)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
  if (cache_get_verdict(cache, question) == 1)
    return TRUE;
  g_autoptr(Image) image =
      trust_compare_hash(reference, error) ? image_open_reference(reference, error) : NULL;
  if (!image)
    return FALSE;
  cache_set_verdict(cache, question, TRUE);
  return TRUE;
}
