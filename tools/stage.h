/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What an image path is made of, on its way to the store: the content of all files in one file
 * without a name, in the order in which the layers have it, or in the store already, where the
 * image stands on a path there; and a tree of names that lead to it. It is gone with the process,
 * whatever ends that. Runs as anybody: nothing is owned by whom the image says. Stands on scratch,
 * tree and util.
 */
#pragma once

#include "tree.h"

/* Longest path within rootfs: what leaves Nix room for the store's directory, the longest name it
 * allows and its temporary directories under PATH_MAX. Fixed, so that an image is the same or
 * refused everywhere. */
#define STAGE_PATH_MAX 3800

typedef struct Stage Stage;

/* An empty stage, under $TMPDIR or /var/tmp. */
Stage *stage_new(GError **error);
/* Takes NULL. */
void stage_free(Stage *stage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stage, stage_free)

/* The content of inodes with a content_path lies beneath the directory @dir_fd, which is borrowed,
 * and is read there. */
void stage_set_base(Stage *stage, int dir_fd);

/* Sets room for @inode's `size` bytes aside, noted in its content_offset. They are zeroes, and take
 * no space, until they are written. */
gboolean stage_reserve(Stage *stage, TreeInode *inode, GError **error);

/* Writes content of @inode, or reads all @size bytes of it, from its byte @offset on; never beyond
 * its size. */
gboolean stage_write(Stage *stage, const TreeInode *inode, const void *data, gsize size,
                     guint64 offset, GError **error);
gboolean stage_read(Stage *stage, const TreeInode *inode, void *data, gsize size, guint64 offset,
                    GError **error);

/* A file beside rootfs. */
typedef struct {
  const char *name;
  const void *data;
  gsize size;
} StagedFile;

#define STAGED_FILES 3

/* An image path that is to be: rootfs is @tree, of linked files under the first name (in tree
 * order) alone, without devices and the like. Everything is borrowed. */
typedef struct {
  const char *name; /* passed store_name_is_valid() */
  Tree *tree;
  Stage *stage;
  StagedFile files[STAGED_FILES]; /* by name; all come before "rootfs" */
} StagedImage;

/* INVALID where a directory with entries has a path of more than STAGE_PATH_MAX bytes: a short name
 * can lead deep, through symlinks. Looks at no path that is much longer. */
gboolean stage_check_paths(Tree *tree, GError **error);

/* Nix keeps one bit of a file's mode: whether it is executable. */
gboolean stage_is_executable(const TreeInode *inode);
