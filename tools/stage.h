/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The staged image path: a scratch directory in which an image path is put together before the
 * store takes it. Content is written first, in numbered files; names come at the end, when every
 * layer is known. Runs as anybody: nothing is owned by whom the image says. Stands on scratch, tree
 * and util.
 */
#pragma once

#include "tree.h"

/* Longest path within rootfs: what leaves Nix room for the store's directory, the longest name it
 * allows and its temporary directories under PATH_MAX. Fixed, so that an image is the same or
 * refused everywhere. */
#define STAGE_PATH_MAX 3800

typedef struct Stage Stage;

/* A stage for the image path called @name (of the store: passed store_name_is_valid()). */
Stage *stage_new(const char *name, GError **error);
/* Removes it and all that is in it; takes NULL. */
void stage_free(Stage *stage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stage, stage_free)

/* The image path itself, absolute: its last component is the name. */
const char *stage_path(const Stage *stage);

/* Makes an empty file for @inode's content and returns its descriptor, for writing. The file is
 * named in the inode's content_path until stage_place_tree(). */
int stage_create_content(Stage *stage, TreeInode *inode, GError **error);

/* Makes rootfs out of @tree: directories, symlinks, and content under the first name (in tree
 * order) that leads to it. Clears content_path. Devices and the like are not there. */
gboolean stage_place_tree(Stage *stage, Tree *tree, GError **error);

/* Writes a file beside rootfs. */
gboolean stage_write_file(Stage *stage, const char *name, const void *data, gsize size,
                          GError **error);
