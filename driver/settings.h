/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * nixstore.conf(5): /etc/nixstore.conf, then $XDG_CONFIG_HOME/nixstore/nixstore.conf, a key file
 * with the group [nixstore]; over them the environment NIXSTORE_<KEY>. Read once. Stands on util.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
  char *mode;       /* "auto", "erofs", "bind", ...; checked by whoever uses it */
  char *store;      /* the store's directory; NULL: NIX_STORE_DIR or /nix/store */
  char *cache;      /* index cache; root: /var/cache/nixstore, else $XDG_CACHE_HOME/nixstore */
  char *nix_store;  /* the program nix-store: name or path */
  char *substitute; /* "true" or "false": may a mount fetch a path that is missing? */
  char *substitute_timeout; /* seconds that this may take, a decimal number */
  char *fuse_passthrough;   /* "true" or "false": are files read from the store's page cache? */
  char *convert;            /* "none" or "pull": are pulled images put into the store? */
  char *cache_limit; /* what all indexes may take, as util_parse_size() reads it; "0": anything */
} Settings;

/* The settings, read at the first call; the library's own, never freed. Thread-safe. INVALID for a
 * file that does not parse, has an unknown key or a relative path where an absolute one belongs.
 * UNTRUSTED for a file that somebody else than root or (for who is not root) the caller may
 * write. */
const Settings *settings_get(GError **error);

/* One setting and where it comes from. */
typedef struct {
  const char *key;
  const char *value;  /* NULL: none */
  const char *source; /* a file's path, the name of an environment variable, or "default" */
} SettingsEntry;

/* Describes setting number @i, in the order of nixstore.conf(5); the texts are the library's. FALSE
 * when there are no more, or settings_get() failed. */
gboolean settings_describe(guint i, SettingsEntry *ret_entry);

/* Whether the process is root of the initial user namespace: `podman unshare` shows uid 0 too. */
gboolean settings_process_is_root(void);

/* Whether @owner may decide what this process trusts: root, which a user namespace shows as the
 * overflow uid (as it does every user that it does not map: nothing inside tells them apart), and,
 * unless the process is root itself, its own user. */
gboolean settings_owner_is_trusted(uid_t owner);
