/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The content half of an image path: joins a manifest's tree with the files of rootfs/. Stands on
 * tree and util.
 */
#pragma once

#include "tree.h"

/* Walks the directory @rootfs_fd and @tree in step and fills in what only the files know: sizes,
 * blocks, symlink targets. INVALID (naming the path) when the two disagree: an entry of the one
 * that the other lacks, another type, a link count or mode that no store path has. Devices, FIFOs
 * and the later names of hard links must not be in rootfs. Follows no symlink. */
gboolean rootfs_bind_tree(Tree *tree, int rootfs_fd, GError **error);
