/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cache.h"

#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "index.h"
#include "mountapi.h"
#include "settings.h"
#include "util.h"

#define CACHE_LOCK "lock"
#define CACHE_MODE 0755

struct Cache {
  char *path;
  int index_fd, verdict_fd;
};

gboolean
cache_check_directory(int fd, const char *path, GError **error)
{
  struct stat st;

  if (fstat(fd, &st) < 0)
    return util_error_errno(error, "look at %s", path);
  if (st.st_uid != 0 && st.st_uid != geteuid())
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED,
                      "%s belongs to user %u, neither to root nor to user %u: not trusted", path,
                      st.st_uid, geteuid());
  if ((st.st_mode & S_IWOTH) || ((st.st_mode & S_IWGRP) && !(st.st_mode & S_ISVTX)))
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED,
                      "%s may be written to by others (mode %04o): not trusted", path,
                      st.st_mode & 07777);
  return TRUE;
}

/* The directory @name of the cache, open; made when it is missing. */
static int
cache_open_directory(const char *parent, const char *name, GError **error)
{
  g_autofree char *path = g_build_filename(parent, name, NULL);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  if (fd < 0 && errno == ENOENT) {
    if (!util_make_directory(path, CACHE_MODE, error))
      return -1;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }
  if (fd < 0)
    util_error_errno(error, "open the cache directory %s", path);
  else if (!cache_check_directory(fd, path, error))
    util_close_fd(&fd);
  return fd;
}

Cache *
cache_open(GError **error)
{
  const Settings *settings = settings_get(error);

  if (!settings)
    return NULL;
  g_autoptr(Cache) cache = g_new0(Cache, 1);
  cache->path = g_strdup(settings->cache);
  cache->index_fd = cache->verdict_fd = -1;
  autofd int top = cache_open_directory(cache->path, "", error);
  if (top < 0)
    return NULL;
  cache->index_fd = cache_open_directory(cache->path, "index", error);
  if (cache->index_fd < 0)
    return NULL;
  cache->verdict_fd = cache_open_directory(cache->path, "verdict", error);
  if (cache->verdict_fd < 0)
    return NULL;
  return g_steal_pointer(&cache);
}

void
cache_close(Cache *cache)
{
  if (!cache)
    return;
  util_close_fd(&cache->index_fd);
  util_close_fd(&cache->verdict_fd);
  g_free(cache->path);
  g_free(cache);
}

/* The index called @name if it is there, ours, and whole; else -1. */
static int
cache_open_sound(const Cache *cache, const char *name)
{
  struct stat st;
  autofd int fd = openat(cache->index_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
    return -1;
  if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
    return -1;
  g_autoptr(Index) index = index_open(fd, NULL);
  return index ? util_steal_fd(&fd) : -1;
}

/* Waits until nobody else compiles @key. The lock is a byte of one file, so that none is left over;
 * it goes with the descriptor. */
static int
cache_lock(const Cache *cache, const char *key, GError **error)
{
  char digits[16] = {0};
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  autofd int fd =
      openat(cache->index_fd, CACHE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

  g_strlcpy(digits, key, sizeof digits - 1);
  lock.l_start = (off_t)g_ascii_strtoull(digits, NULL, 16);
  if (fd < 0) {
    util_error_errno(error, "open the lock of the index cache %s/index", cache->path);
    return -1;
  }
  while (fcntl(fd, F_OFD_SETLKW, &lock) < 0)
    if (errno != EINTR) {
      util_error_errno(error, "lock the index cache %s/index", cache->path);
      return -1;
    }
  return util_steal_fd(&fd);
}

static gboolean
cache_write_index(int fd, CacheBuild build, gpointer data, GError **error)
{
  const char *const *prefixes = NULL;
  g_autoptr(Tree) tree = build(data, &prefixes, error);

  if (!tree)
    return FALSE;
  gsize n_prefixes = prefixes ? g_strv_length((char **)prefixes) : 0;
  if (!index_write(tree, fd, prefixes, n_prefixes, error))
    return FALSE;
  return fsync(fd) == 0 || util_error_errno(error, "write the index to disk");
}

/* A file of the cache without a name, or where the filesystem has no such files, called @aside:
 * what a process killed midway left under that name is overwritten by the next, as @aside is its
 * key's own. */
static int
cache_create_aside(const Cache *cache, const char *aside, gboolean *ret_named, GError **error)
{
  int fd = mountapi_is_disabled("unnamed-files")
               ? -1
               : openat(cache->index_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0644);

  unlinkat(cache->index_fd, aside, 0);
  *ret_named = fd < 0;
  if (fd < 0)
    fd = openat(cache->index_fd, aside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0)
    util_error_errno(error, "create %s/index/%s", cache->path, aside);
  return fd;
}

static gboolean
cache_publish(const Cache *cache, int fd, gboolean is_named, const char *aside, const char *name,
              GError **error)
{
  char path[32];

  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (!is_named && linkat(AT_FDCWD, path, cache->index_fd, aside, AT_SYMLINK_FOLLOW) < 0)
    return util_error_errno(error, "name %s/index/%s", cache->path, aside);
  if (renameat(cache->index_fd, aside, cache->index_fd, name) < 0)
    return util_error_errno(error, "rename %s/index/%s", cache->path, aside);
  return fsync(cache->index_fd) == 0 ||
         util_error_errno(error, "sync the directory %s/index", cache->path);
}

/* Compiles into @name by way of a file aside, which is whole and on disk before it has that name.
 */
static gboolean
cache_compile(const Cache *cache, const char *key, const char *name, CacheBuild build,
              gpointer data, GError **error)
{
  g_autofree char *aside = g_strconcat(key, ".new", NULL);
  gboolean is_named = FALSE;
  autofd int fd = cache_create_aside(cache, aside, &is_named, error);

  if (fd < 0)
    return FALSE;
  if (cache_write_index(fd, build, data, error) &&
      cache_publish(cache, fd, is_named, aside, name, error))
    return TRUE;
  unlinkat(cache->index_fd, aside, 0);
  return FALSE;
}

static int
cache_open_unnamed(const Cache *cache, CacheBuild build, gpointer data, GError **error)
{
  char path[32];
  gboolean is_named = FALSE;
  g_autofree char *aside = g_strdup_printf("unnamed-%d.new", (int)getpid());
  autofd int fd = cache_create_aside(cache, aside, &is_named, error);

  if (fd < 0)
    return -1;
  if (is_named)
    unlinkat(cache->index_fd, aside, 0);
  if (!cache_write_index(fd, build, data, error))
    return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int read_only = open(path, O_RDONLY | O_CLOEXEC);
  if (read_only < 0)
    util_error_errno(error, "open the index again");
  return read_only;
}

int
cache_open_index(Cache *cache, const char *key, CacheBuild build, gpointer data, GError **error)
{
  if (!key)
    return cache_open_unnamed(cache, build, data, error);

  g_autofree char *name = g_strconcat(key, ".erofs", NULL);
  int fd = cache_open_sound(cache, name);
  if (fd >= 0)
    return fd;
  autofd int lock = cache_lock(cache, key, error);
  if (lock < 0)
    return -1;
  fd = cache_open_sound(cache, name);
  if (fd >= 0)
    return fd;
  if (!cache_compile(cache, key, name, build, data, error))
    return -1;
  fd = cache_open_sound(cache, name);
  if (fd < 0)
    util_error(error, NIXSTORE_ERROR_FAILED, "the index %s/index/%s cannot be read back",
               cache->path, name);
  return fd;
}

static Tree *
cache_build_reference(gpointer data, const char *const **ret_prefixes, GError **error)
{
  const Reference *reference = data;
  g_autoptr(Image) image = image_open(reference->store_path, error);

  if (!image)
    return NULL;
  if (strcmp(image->manifest_digest, reference->manifest_digest) != 0) {
    util_error(error, NIXSTORE_ERROR_UNTRUSTED,
               "the reference names the manifest %s, but %s holds %s", reference->manifest_digest,
               reference->store_path, image->manifest_digest);
    return NULL;
  }
  return image_load_tree(image, error);
}

int
cache_open_reference_index(Cache *cache, const Reference *reference, GError **error)
{
  g_autofree char *text = g_strdup_printf("index %d\n%s\n%s\n", INDEX_FORMAT_VERSION,
                                          reference->store_path, reference->manifest_digest);
  g_autofree char *key = util_sha256_hex(text, strlen(text));
  int fd = cache_open_index(cache, key, cache_build_reference, (gpointer)reference, error);

  if (fd < 0)
    g_prefix_error(error, "compile the index of %s: ", reference->store_path);
  return fd;
}

int
cache_get_verdict(Cache *cache, const char *question)
{
  char answer = 0;
  g_autofree char *key = util_sha256_hex(question, strlen(question));
  autofd int fd = openat(cache->verdict_fd, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0 || read(fd, &answer, 1) != 1)
    return -1;
  return answer == '1' ? 1 : answer == '0' ? 0 : -1;
}

void
cache_set_verdict(Cache *cache, const char *question, gboolean verdict)
{
  g_autofree char *key = util_sha256_hex(question, strlen(question));

  autofd int fd = openat(cache->verdict_fd, key,
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);

  /* Neither aside nor synced: a file that a crash left empty gives no verdict. */
  if (fd >= 0)
    util_write_all(fd, verdict ? "1" : "0", 1);
}
