/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is in the cache: for those who look after it, and for its limit. Stands on cache and index.
 *
 * An index may be deleted at any time: who has it open, or mounted, keeps it. Only between its
 * compilation and its first opening it must stay, and there its key is locked.
 */
#pragma once

#include "cache.h"

struct Cache {
  char *path;
  int index_fd, verdict_fd;
};

typedef enum {
  CACHE_INDEX,
  CACHE_VERDICT,
  CACHE_REMNANT, /* of a compilation that was killed, or a text without its index */
} CacheKind;

typedef struct {
  CacheKind kind;
  char *name;        /* of the file, in index/ or verdict/ */
  char *key;         /* 64 hexadecimal digits; NULL for files that are called otherwise */
  char *text;        /* what it hangs on, lines; NULL: not known, so that nobody can tell */
  guint64 size;      /* bytes on disk */
  gint64 used;       /* last use (an index's), seconds since the epoch */
  gboolean is_sound; /* ours alone to write, and whole */
} CacheEntry;

/* All of them (of CacheEntry), in no order. With @check the indexes are looked into. */
GPtrArray *cache_list_entries(const Cache *cache, gboolean check, GError **error);

/* Removes the entry of @kind whose file is @name. FALSE without an error when somebody is compiling
 * it at this moment. */
gboolean cache_remove_entry(const Cache *cache, CacheKind kind, const char *name, GError **error);

/* The lock of the key: what is compiled under it. -1 with an error, or without one when somebody
 * else has it and @wait is not set. */
int cache_lock_key(const Cache *cache, const char *key, gboolean wait, GError **error);

/* The index called @name if it is there, ours, and whole; else -1. */
int cache_open_sound(const Cache *cache, const char *name);

/* Removes indexes until all take no more than the settings allow, those first that were not used
 * for longest, but not that of @key. Best effort. */
void cache_keep_limit(const Cache *cache, const char *key);
