/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All the ways in which a manifest's tree and the files of rootfs/ disagree. (rootfs_bind_tree()
 * stops at the first.)
 */
#pragma once

#include "tree.h"

/* Appends a line (char *) to @problems for each disagreement between @tree and the directory
 * @rootfs_fd. Paths in the lines start with "rootfs/" or are relative to it as said. */
void verify_tree(Tree *tree, int rootfs_fd, GPtrArray *problems);
