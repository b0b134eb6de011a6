/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The Nix store, through Nix's own programs. Stands on util and settings.
 */
#pragma once

#include <glib.h>

/* The store's directory: settings' `store` or NIX_STORE_DIR or /nix/store; without trailing slash.
 */
const char *store_directory(void);

/* Checks that @path is <store>/<32 characters of Nix's base32>-<name>, nothing below it and nothing
 * else (UNTRUSTED). Does not look whether it exists. A pure check of text. */
gboolean store_path_check(const char *path, GError **error);

/* What follows the hash in @path, which passed store_path_check(); within @path. */
const char *store_path_name(const char *path);

/* Whether @name may follow the hash in a store path (Nix: [0-9a-zA-Z+-._?=], 1 to 211 bytes, not
 * starting with '.'). */
gboolean store_name_is_valid(const char *name);

/* Whether @hash is a NAR hash as below: "sha256:<52 characters of Nix's base32>". */
gboolean store_hash_is_valid(const char *hash);

/* The store's own record of @path's NAR hash, "sha256:<base32>" as `nix-store --query --hash`
 * prints it. NOT_FOUND when the store does not have the path (the text says how to get it). Costs
 * 25 ms. */
char *store_query_hash(const char *path, GError **error);

/* What `nix-store --version` says: "nix-store (Nix) 2.8.0". Caller frees. */
char *store_query_version(GError **error);

/* Adds the directory @source (whose last component is the name) as a content-addressed, recursive
 * SHA-256 path: `nix-store --add`. Returns the store path. */
char *store_add(const char *source, GError **error);

/* Makes the symlink @link an indirect GC root of @path (nix-store --realise --add-root --indirect).
 * Replaces an older one; durable. */
gboolean store_add_root(const char *path, const char *link, GError **error);

/* An indirect GC root, as the store has it in its books. */
typedef struct {
  char *registered;     /* the store's symlink: <state>/gcroots/auto/<hash> */
  char *link;           /* where that leads: a symlink of somebody's */
  char *path;           /* where that leads; NULL where it is gone or cannot be read */
  gboolean is_dangling; /* the link is not there, for certain */
} StoreRoot;

/* All of them, of StoreRoot. */
GPtrArray *store_list_roots(GError **error);

/* Whether @link is an indirect GC root of @path and in the store's books: what store_add_root()
 * makes. */
gboolean store_has_root(const char *path, const char *link);

/* Fetches @path, if the store lacks it, from the substituters (binary caches, other stores over
 * ssh) of Nix's own configuration, and makes @link its GC root as store_add_root() does. It may
 * take settings' substitute_timeout. What the path holds is not compared with anything: ask
 * trust_check_reference(); nor is it on the disk yet: store_flush(). NOT_FOUND when nobody has it.
 */
gboolean store_substitute(const char *path, const char *link, GError **error);

/* Has @path and the store's books on the disk before it returns. Nix itself flushes neither the
 * files (fsync-store-paths in nix.conf(5) is off) nor its last transactions (SQLite's write-ahead
 * log with synchronous=normal): it may forget after a power failure what it said was there. */
gboolean store_flush(const char *path, GError **error);

/* Undoes store_add_root(): removes @link and, where the caller may, the store's note of it (which
 * otherwise goes at the next collection). */
void store_remove_root(const char *link);

/* Bytes of @path's NAR as the store records it (nix-store --query --size). */
gboolean store_query_size(const char *path, guint64 *ret_size, GError **error);

/* The same for all of @paths (NULL at the end) at the price of one: sizes into @ret_sizes, one for
 * each. */
gboolean store_query_sizes(const char *const *paths, guint64 *ret_sizes, GError **error);

/* Compares the path's content with its recorded hash (nix-store --verify-path). */
gboolean store_verify(const char *path, GError **error);

/* What is wrong, in one line, out of what a program of Nix's has printed. */
char *store_message(const char *text);
