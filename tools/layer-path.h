/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Names of a layer's entries, resolved in a tree as in a chroot. Private to the layers. Stands on
 * tree and util.
 */
#pragma once

#include "tree.h"

typedef struct {
  char *clean;      /* "usr/bin/env"; "" for the root; owned */
  const char *name; /* its last component, within @clean */
} LayerPath;

/* Takes "//" and "." out of @path. INVALID for "..", components over 255 bytes and paths that do
 * not fit in the store. Free ret_path->clean. */
gboolean layer_path_parse(const char *path, LayerPath *ret_path, GError **error);

/* The directory that the entry @path belongs in, symlinks followed. Missing ones are made with the
 * mark @mark if @create. NULL with @error where there is none; whether only because its own name is
 * a symlink that leads nowhere, in @ret_dangling (may be NULL). */
TreeNode *layer_path_resolve_parent(Tree *tree, const LayerPath *path, gboolean create,
                                    guint32 mark, gboolean *ret_dangling, GError **error);
