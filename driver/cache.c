/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cache.h"

#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "cache-entries.h"
#include "image.h"
#include "index.h"
#include "mountapi.h"
#include "settings.h"
#include "unprivileged.h"
#include "util.h"

#define CACHE_MODE 0755
/* How old the note of an index's last use may be. */
#define CACHE_USE_PRECISION (10 * 60)
/* What an index in a user namespace shows is less (unprivileged.h): part of its key. */
#define CACHE_UNPRIVILEGED "user namespace\n"

gboolean
cache_check_directory(int fd, const char *path, gboolean is_store, GError **error)
{
  struct stat st;

  if (fstat(fd, &st) < 0)
    return util_error_errno(error, "look at %s", path);
  if (st.st_uid != 0 && st.st_uid != geteuid() &&
      !(is_store && settings_owner_is_trusted(st.st_uid)))
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED,
                      "%s belongs to user %u, neither to root nor to user %u: not trusted", path,
                      st.st_uid, geteuid());
  if ((st.st_mode & S_IWOTH) || ((st.st_mode & S_IWGRP) && !(is_store && (st.st_mode & S_ISVTX))))
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
  else if (!cache_check_directory(fd, path, FALSE, error))
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

static gboolean
cache_write_index(int fd, CacheBuild build, gpointer data, GError **error)
{
  const char *const *prefixes = NULL;
  g_autoptr(Tree) tree = build(data, &prefixes, error);

  if (!tree)
    return FALSE;
  if (!settings_process_is_root())
    unprivileged_trim_tree(tree);
  gsize n_prefixes = prefixes ? g_strv_length((char **)prefixes) : 0;
  return index_write(tree, fd, prefixes, n_prefixes, error);
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

  if (fsync(fd) < 0)
    return util_error_errno(error, "write %s/index/%s to disk", cache->path, aside);
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

/* Notes that the index @fd is used now. */
static void
cache_touch(int fd)
{
  const struct timespec times[] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
  struct stat st;

  if (fstat(fd, &st) == 0 && st.st_atim.tv_sec < time(NULL) - CACHE_USE_PRECISION)
    futimens(fd, times);
}

/* What the index hangs on, beside it: only those who look after the cache want it, so a crash may
 * take it. */
static void
cache_write_text(const Cache *cache, const char *key, const char *text)
{
  g_autofree char *name = g_strconcat(key, ".text", NULL);
  autofd int fd = openat(cache->index_fd, name,
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);

  if (fd >= 0)
    util_write_all(fd, text, strlen(text));
}

static int
cache_open_compiled(const Cache *cache, const char *key, const char *name, const char *text,
                    CacheBuild build, gpointer data, GError **error)
{
  autofd int lock = cache_lock_key(cache, key, TRUE, error);

  if (lock < 0)
    return -1;
  int fd = cache_open_sound(cache, name);
  if (fd >= 0)
    return fd;
  if (!cache_compile(cache, key, name, build, data, error))
    return -1;
  cache_write_text(cache, key, text);
  fd = cache_open_sound(cache, name);
  if (fd < 0)
    util_error(error, NIXSTORE_ERROR_FAILED, "the index %s/index/%s cannot be read back",
               cache->path, name);
  return fd;
}

int
cache_open_index(Cache *cache, const char *text, CacheBuild build, gpointer data, GError **error)
{
  if (!text)
    return cache_open_unnamed(cache, build, data, error);

  g_autofree char *whole =
      g_strconcat(text, settings_process_is_root() ? "" : CACHE_UNPRIVILEGED, NULL);
  g_autofree char *key = util_sha256_hex(whole, strlen(whole));
  g_autofree char *name = g_strconcat(key, ".erofs", NULL);
  int fd = cache_open_sound(cache, name);
  if (fd >= 0) {
    cache_touch(fd);
    return fd;
  }
  fd = cache_open_compiled(cache, key, name, whole, build, data, error);
  if (fd >= 0)
    cache_keep_limit(cache, key);
  return fd;
}

static Tree *
cache_build_reference(gpointer data, const char *const **ret_prefixes, GError **error)
{
  g_autoptr(Image) image = image_open_reference(data, error);

  return image ? image_load_tree(image, error) : NULL;
}

int
cache_open_reference_index(Cache *cache, const Reference *reference, GError **error)
{
  /* Sizes and symlinks come from rootfs, which the manifest says nothing of. */
  g_autofree char *text =
      g_strdup_printf("index %d\n%s\n%s\n%s\n", INDEX_FORMAT_VERSION, reference->store_path,
                      reference->manifest_digest, reference->nar_hash);
  int fd = cache_open_index(cache, text, cache_build_reference, (gpointer)reference, error);

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
  if (fd < 0)
    return;
  g_autofree char *text = g_strconcat(verdict ? "1\n" : "0\n", question, NULL);
  util_write_all(fd, text, strlen(text));
}
