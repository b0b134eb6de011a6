/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Trees that tests of the index and benchmarks write.
 */
#pragma once

#include "tree.h"

/* Adds the entry @path (its parent must exist) and returns its inode, which the tree owns. */
TreeInode *fixture_add(Tree *tree, const char *path, guint32 mode);
/* A regular file of @size bytes. */
TreeInode *fixture_add_file(Tree *tree, const char *path, guint32 mode, guint64 size);
TreeInode *fixture_add_symlink(Tree *tree, const char *path, const char *target);
TreeInode *fixture_add_device(Tree *tree, const char *path, guint32 mode, guint32 major,
                              guint32 minor);
/* Adds @path as one more name of @inode. */
void fixture_link(Tree *tree, const char *path, TreeInode *inode);

/* Every type, attribute and boundary in one small tree. */
Tree *fixture_full(void);
/* Adds the directory "overlay" with xattrs that overlayfs would obey, which no manifest may have.
 */
void fixture_add_overlay_xattrs(Tree *tree);
/* Directories around every boundary of EROFS's directory blocks and inline tails. */
Tree *fixture_directories(void);
/* Names, targets and xattrs of every awkward size. */
Tree *fixture_sizes(void);
/* A tree of @count entries in the shape of an operating system's. */
Tree *fixture_system(guint count);
/* A random tree, the same for the same @seed. */
Tree *fixture_random(guint32 seed);

/* Makes in the empty directory @fd what the store would hold of @tree: files of their size (sparse,
 * 0444 or 0555), directories 0555, symlinks; of hard links the first name alone. */
void fixture_make_rootfs(Tree *tree, int fd);
