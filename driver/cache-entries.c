/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cache-entries.h"

#include <string.h>

#include "index.h"
#include "settings.h"
#include "util.h"

#define CACHE_KEY_SIZE 64
#define CACHE_TEXT_MAX (1024 * 1024)
#define CACHE_LOCK "lock"

static void
cache_entry_free(CacheEntry *entry)
{
  g_free(entry->name);
  g_free(entry->key);
  g_free(entry->text);
  g_free(entry);
}

static gboolean
cache_name_has_key(const char *name)
{
  return strspn(name, "0123456789abcdef") == CACHE_KEY_SIZE;
}

/* Whether the file called @name begins with a key and ends with @suffix. */
static gboolean
cache_name_is(const char *name, const char *suffix)
{
  return cache_name_has_key(name) && strcmp(name + CACHE_KEY_SIZE, suffix) == 0;
}

/* The text of the file that is kept for @key, @skip bytes left out; NULL unless it is that key's.
 */
static char *
cache_read_text(int directory, const char *name, const char *key, gsize skip)
{
  gsize size;
  autofd int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  g_autofree char *text = fd < 0 ? NULL : util_read_all(fd, CACHE_TEXT_MAX, name, &size, NULL);

  if (!text || size < skip)
    return NULL;
  g_autofree char *digest = util_sha256_hex(text + skip, size - skip);
  return strcmp(digest, key) == 0 ? g_strdup(text + skip) : NULL;
}

static gboolean
cache_is_ours(const struct stat *st)
{
  return S_ISREG(st->st_mode) && (st->st_uid == 0 || st->st_uid == geteuid()) &&
         !(st->st_mode & (S_IWGRP | S_IWOTH));
}

int
cache_open_sound(const Cache *cache, const char *name)
{
  struct stat st;
  autofd int fd = openat(cache->index_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0 || !cache_is_ours(&st))
    return -1;
  g_autoptr(Index) index = index_open(fd, NULL);
  return index ? util_steal_fd(&fd) : -1;
}

static void
cache_describe_index(const Cache *cache, CacheEntry *entry, const struct stat *st, gboolean check)
{
  const char *name = entry->name;

  if (cache_name_is(name, ".erofs")) {
    entry->kind = CACHE_INDEX;
    entry->key = g_strndup(name, CACHE_KEY_SIZE);
    g_autofree char *text = g_strconcat(entry->key, ".text", NULL);
    entry->text = cache_read_text(cache->index_fd, text, entry->key, 0);
    entry->is_sound = cache_is_ours(st);
    if (check && entry->is_sound) {
      autofd int fd = cache_open_sound(cache, name);
      entry->is_sound = fd >= 0;
    }
    return;
  }
  entry->kind = CACHE_REMNANT;
  if (cache_name_is(name, ".text") || cache_name_is(name, ".new"))
    entry->key = g_strndup(name, CACHE_KEY_SIZE);
}

static void
cache_describe_verdict(const Cache *cache, CacheEntry *entry, const struct stat *st)
{
  char head[2] = "";

  entry->kind = CACHE_VERDICT;
  entry->is_sound = cache_is_ours(st) && cache_name_is(entry->name, "");
  if (!entry->is_sound)
    return;
  entry->key = g_strdup(entry->name);
  entry->text = cache_read_text(cache->verdict_fd, entry->name, entry->key, sizeof head);
}

/* A text whose index is there is no entry of its own. */
static gboolean
cache_is_companion(int directory, const char *name)
{
  if (!cache_name_is(name, ".text"))
    return FALSE;
  g_autofree char *index = g_strdup_printf("%.*s.erofs", CACHE_KEY_SIZE, name);
  return faccessat(directory, index, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static gboolean
cache_list_directory(const Cache *cache, int directory, gboolean check, GPtrArray *entries,
                     GError **error)
{
  g_autoptr(GPtrArray) names = util_list_directory(directory, cache->path, error);
  struct stat st;

  if (!names)
    return FALSE;
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index(names, i);
    if (strcmp(name, CACHE_LOCK) == 0 || fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        (directory == cache->index_fd && cache_is_companion(directory, name)))
      continue;
    CacheEntry *entry = g_new0(CacheEntry, 1);
    entry->name = g_strdup(name);
    entry->size = (guint64)st.st_blocks * 512;
    entry->used = MAX(st.st_atim.tv_sec, st.st_mtim.tv_sec);
    if (directory == cache->index_fd)
      cache_describe_index(cache, entry, &st, check);
    else
      cache_describe_verdict(cache, entry, &st);
    g_ptr_array_add(entries, entry);
  }
  return TRUE;
}

GPtrArray *
cache_list_entries(const Cache *cache, gboolean check, GError **error)
{
  g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)cache_entry_free);

  if (!cache_list_directory(cache, cache->index_fd, check, entries, error) ||
      !cache_list_directory(cache, cache->verdict_fd, check, entries, error))
    return NULL;
  return g_steal_pointer(&entries);
}

int
cache_lock_key(const Cache *cache, const char *key, gboolean wait, GError **error)
{
  char digits[16] = {0};
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  autofd int fd =
      openat(cache->index_fd, CACHE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

  /* A byte of one file, so that none is left over; it goes with the descriptor. */
  g_strlcpy(digits, key, sizeof digits);
  lock.l_start = (off_t)g_ascii_strtoull(digits, NULL, 16);
  if (fd < 0) {
    util_error_errno(error, "open the lock of the index cache %s/index", cache->path);
    return -1;
  }
  while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) < 0) {
    if (errno == EINTR)
      continue;
    if (wait || (errno != EAGAIN && errno != EACCES))
      util_error_errno(error, "lock the index cache %s/index", cache->path);
    return -1;
  }
  return util_steal_fd(&fd);
}

static gboolean
cache_unlink(const Cache *cache, int directory, const char *name, GError **error)
{
  return unlinkat(directory, name, 0) == 0 || errno == ENOENT ||
         util_error_errno(error, "remove %s/%s/%s", cache->path,
                          directory == cache->index_fd ? "index" : "verdict", name);
}

gboolean
cache_remove_entry(const Cache *cache, CacheKind kind, const char *name, GError **error)
{
  GError *local = NULL;
  autofd int lock = -1;

  if (kind == CACHE_VERDICT)
    return cache_unlink(cache, cache->verdict_fd, name, error);
  if (cache_name_has_key(name)) {
    lock = cache_lock_key(cache, name, FALSE, &local);
    if (local)
      g_propagate_error(error, local);
    if (lock < 0)
      return FALSE;
  }
  /* Compiled in the meantime: no remnant any more. */
  if (kind == CACHE_REMNANT && cache_is_companion(cache->index_fd, name))
    return FALSE;
  if (!cache_unlink(cache, cache->index_fd, name, error))
    return FALSE;
  if (kind != CACHE_INDEX)
    return TRUE;
  g_autofree char *text = g_strdup_printf("%.*s.text", CACHE_KEY_SIZE, name);
  return cache_unlink(cache, cache->index_fd, text, error);
}

static gint
cache_compare_use(gconstpointer a, gconstpointer b)
{
  const CacheEntry *x = *(CacheEntry *const *)a, *y = *(CacheEntry *const *)b;

  return (x->used > y->used) - (x->used < y->used);
}

void
cache_keep_limit(const Cache *cache, const char *key)
{
  const Settings *settings = settings_get(NULL);
  guint64 limit = 0, total = 0;

  if (!settings || !util_parse_size(settings->cache_limit, &limit) || limit == 0)
    return;
  g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)cache_entry_free);
  if (!cache_list_directory(cache, cache->index_fd, FALSE, entries, NULL))
    return;
  for (guint i = 0; i < entries->len; i++)
    total += ((CacheEntry *)entries->pdata[i])->size;
  if (total <= limit)
    return;
  g_ptr_array_sort(entries, cache_compare_use);
  for (guint i = 0; i < entries->len && total > limit; i++) {
    const CacheEntry *entry = entries->pdata[i];
    if (entry->kind == CACHE_INDEX && strcmp(entry->key, key) != 0 &&
        cache_remove_entry(cache, entry->kind, entry->name, NULL))
      total -= entry->size;
  }
}
