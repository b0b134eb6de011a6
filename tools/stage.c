/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "stage.h"
#include "scratch.h"
#include "util.h"

#include <string.h>

struct Stage {
  int fd;
  guint64 end; /* where the next file's content goes */
};

Stage *
stage_new(GError **error)
{
  int fd = scratch_open_file(error);

  if (fd < 0)
    return NULL;
  Stage *stage = g_new0(Stage, 1);
  stage->fd = fd;
  return stage;
}

void
stage_free(Stage *stage)
{
  if (stage == NULL)
    return;
  util_close_fd(&stage->fd);
  g_free(stage);
}

gboolean
stage_reserve(Stage *stage, TreeInode *inode, GError **error)
{
  if (inode->size > G_MAXINT64 - stage->end)
    return util_error(error, NIXSTORE_ERROR_INVALID, "the image is too large");
  inode->content_offset = stage->end;
  stage->end += inode->size;
  return TRUE;
}

static gboolean
check_range(const TreeInode *inode, gsize size, guint64 offset, GError **error)
{
  return (offset <= inode->size && size <= inode->size - offset) ||
         util_error(error, NIXSTORE_ERROR_INVALID, "its content is longer than it should be");
}

gboolean
stage_write(Stage *stage, const TreeInode *inode, const void *data, gsize size, guint64 offset,
            GError **error)
{
  const guint8 *next = data;

  if (!check_range(inode, size, offset, error))
    return FALSE;
  for (off_t at = (off_t)(inode->content_offset + offset); size > 0;) {
    ssize_t n = pwrite(stage->fd, next, size, at);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return util_error_errno(error, "write its content to a temporary file");
    next += n;
    at += n;
    size -= (gsize)n;
  }
  return TRUE;
}

gboolean
stage_read(const Stage *stage, const TreeInode *inode, void *data, gsize size, guint64 offset,
           GError **error)
{
  guint8 *next = data;

  if (!check_range(inode, size, offset, error))
    return FALSE;
  for (off_t at = (off_t)(inode->content_offset + offset); size > 0;) {
    ssize_t n = pread(stage->fd, next, size, at);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return util_error_errno(error, "read from a temporary file");
    /* Beyond what was written last. */
    if (n == 0) {
      memset(next, 0, size);
      break;
    }
    next += n;
    at += n;
    size -= (gsize)n;
  }
  return TRUE;
}

gboolean
stage_check_paths(Tree *tree, GError **error)
{
  g_autoptr(GString) path = g_string_new(NULL);

  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL)) {
    gsize count;

    if (!S_ISDIR(node->inode->mode) || tree_children(node, &count) == NULL)
      continue;
    g_string_set_size(path, 0);
    tree_node_append_path(node, path);
    if (path->len > STAGE_PATH_MAX)
      return util_error(error, NIXSTORE_ERROR_INVALID,
                        "a directory's path has more than %d bytes, too deep for the Nix store",
                        STAGE_PATH_MAX);
  }
  return TRUE;
}

gboolean
stage_is_executable(const TreeInode *inode)
{
  return (inode->mode & 0111) != 0;
}
