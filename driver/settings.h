/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * nixstore.conf(5): /etc/nixstore.conf, then $XDG_CONFIG_HOME/nixstore/nixstore.conf, a key file
 * with the group [nixstore]; over them the environment NIXSTORE_<KEY>. Read once. Stands on util.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *mode;      /* "auto", "erofs", "bind", ...; checked by whoever uses it */
  char *store;     /* the store's directory; NULL: NIX_STORE_DIR or /nix/store */
  char *cache;     /* index cache; root: /var/cache/nixstore, else $XDG_CACHE_HOME/nixstore */
  char *nix_store; /* the program nix-store: name or path */
} Settings;

/* The settings, read at the first call; the library's own, never freed. INVALID for a file that
 * does not parse or has an unknown key. When the process runs as root, files not owned by root are
 * refused. */
const Settings *settings_get(GError **error);
