/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "stage.h"
#include "scratch.h"
#include "util.h"

#include <linux/openat2.h>
#include <string.h>

struct Stage {
  int fd;
  guint64 end; /* where the next file's content goes */
  int base_fd; /* -1 */
  int open_fd; /* the file beneath it that was read last, which may have more pieces; -1 */
  const TreeInode *open_inode; /* whose it is */
};

Stage *
stage_new(GError **error)
{
  int fd = scratch_open_file(error);

  if (fd < 0)
    return NULL;
  Stage *stage = g_new0(Stage, 1);
  stage->fd = fd;
  stage->base_fd = stage->open_fd = -1;
  return stage;
}

void
stage_free(Stage *stage)
{
  if (stage == NULL)
    return;
  util_close_fd(&stage->fd);
  util_close_fd(&stage->open_fd);
  g_free(stage);
}

void
stage_set_base(Stage *stage, int dir_fd)
{
  stage->base_fd = dir_fd;
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

/* The file of the base that has @inode's content. */
static gboolean
open_base_file(Stage *stage, const TreeInode *inode, GError **error)
{
  struct stat st;

  util_close_fd(&stage->open_fd);
  stage->open_inode = inode;
  stage->open_fd =
      util_openat2(stage->base_fd, inode->content_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (stage->open_fd < 0 || fstat(stage->open_fd, &st) < 0)
    return util_error_errno(error, "open %s of the image path beneath", inode->content_path);
  if (!S_ISREG(st.st_mode) || (guint64)st.st_size != inode->size)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "%s of the image path beneath changed while it was read",
                      inode->content_path);
  return TRUE;
}

static gboolean
read_base(Stage *stage, const TreeInode *inode, void *data, gsize size, guint64 offset,
          GError **error)
{
  /* At its start: another inode may have come to lie where that one was. */
  if ((inode != stage->open_inode || offset == 0) && !open_base_file(stage, inode, error))
    return FALSE;
  for (guint8 *next = data; size > 0;) {
    ssize_t n = pread(stage->open_fd, next, size, (off_t)offset);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0
                 ? util_error_errno(error, "read %s of the image path beneath", inode->content_path)
                 : util_error(error, NIXSTORE_ERROR_INVALID,
                              "%s of the image path beneath is cut off", inode->content_path);
    next += n;
    offset += (guint64)n;
    size -= (gsize)n;
  }
  return TRUE;
}

gboolean
stage_read(Stage *stage, const TreeInode *inode, void *data, gsize size, guint64 offset,
           GError **error)
{
  guint8 *next = data;

  if (!check_range(inode, size, offset, error))
    return FALSE;
  if (inode->content_path != NULL)
    return read_base(stage, inode, data, size, offset, error);
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
