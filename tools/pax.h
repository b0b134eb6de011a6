/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The headers of a tree's entries in a layer's tar: ustar, and before it a POSIX.1-2001 (pax)
 * extended header for what ustar has no room for. Why not libarchive's writer: doc/ARCHITECTURE.md,
 * "Decisions".
 */
#pragma once

#include "tree.h"

/* Appends to @out the header of @inode at @path (relative, "" for the root). @hardlink: the path of
 * an earlier name of the same inode; NULL for the first. UNSUPPORTED for an xattr whose name a tar
 * cannot hold. */
gboolean pax_append_header(GByteArray *out, const TreeInode *inode, const char *path,
                           const char *hardlink, GError **error);
