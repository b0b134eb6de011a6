/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The content half of an image path: joins a manifest's tree with the files of rootfs/. Stands on
 * tree and util.
 */
#pragma once

#include "tree.h"

/* Walks the directory @rootfs_fd and @tree in step and fills in what only the files know: sizes
 * and symlink targets. INVALID (naming the path) when the two disagree: an entry of the one
 * that the other lacks, another type, permissions that no store path has (files 0444 or 0555,
 * directories 0555), another file system beneath. Link counts say nothing: Nix's optimiser
 * hard-links equal files. Devices, FIFOs, sockets and the later names of hard links must not be in
 * rootfs. Follows no symlink; a bounded number of descriptors however deep the tree. After a
 * failure @tree is half-bound. */
gboolean rootfs_bind_tree(Tree *tree, int rootfs_fd, GError **error);
