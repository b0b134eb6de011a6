/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "export-tar.h"
#include "pax.h"
#include "ustar.h"
#include "util.h"

#include <linux/openat2.h>

#define BUFFER_SIZE (1024 * 1024)

typedef struct {
  LayerWriter *writer;
  int rootfs_fd;
  GHashTable *first_paths; /* inode of several names -> the path (char *) that came first */
  GByteArray *header;
  guint8 *buffer;
  Progress *progress;
  guint64 done, total;
} Export;

static void
export_clear(Export *it)
{
  g_clear_pointer(&it->first_paths, g_hash_table_unref);
  g_clear_pointer(&it->header, g_byte_array_unref);
  g_free(it->buffer);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Export, export_clear)

static gboolean
read_part(int fd, guint8 *buffer, gsize size, const char *name, gsize *ret_n, GError **error)
{
  gssize n;
  do
    n = read(fd, buffer, size);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return util_error_errno(error, "read rootfs/%s", name);
  if (n == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "rootfs/%s changed while it was read", name);
  *ret_n = (gsize)n;
  return TRUE;
}

/* The content of @inode, whose first name is @path; the file must be as long as the header says. */
static gboolean
write_content(Export *it, const TreeInode *inode, const char *path, GError **error)
{
  static const guint8 zeroes[USTAR_BLOCK];
  const char *name = inode->content_path ? inode->content_path : path;
  struct stat st;
  gsize n = 0;
  autofd int fd = util_openat2(it->rootfs_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd < 0 || fstat(fd, &st) < 0)
    return util_error_errno(error, "open rootfs/%s", name);
  if (!S_ISREG(st.st_mode) || (guint64)st.st_size != inode->size)
    return util_error(error, NIXSTORE_ERROR_INVALID, "rootfs/%s changed while it was read", name);
  for (guint64 left = inode->size; left > 0; left -= n) {
    if (!read_part(fd, it->buffer, MIN(left, BUFFER_SIZE), name, &n, error) ||
        !layer_writer_write(it->writer, it->buffer, n, error))
      return FALSE;
    it->done += n;
    progress_set(it->progress, it->done, it->total);
  }
  return layer_writer_write(it->writer, zeroes, ustar_padding(inode->size), error);
}

/* @path, relative to the root; "" for the root itself. */
static gboolean
export_node(Export *it, const TreeNode *node, const char *path, GError **error)
{
  TreeInode *inode = node->inode;
  const char *first = g_hash_table_lookup(it->first_paths, inode);
  if (!first && !S_ISDIR(inode->mode) && inode->nlink > 1)
    g_hash_table_insert(it->first_paths, inode, g_strdup(path));
  g_byte_array_set_size(it->header, 0);
  if (!pax_append_header(it->header, inode, path, first, error) ||
      !layer_writer_write(it->writer, it->header->data, it->header->len, error))
    return FALSE;
  return first || !S_ISREG(inode->mode) || write_content(it, inode, path, error);
}

gboolean
export_tar(Tree *tree, int rootfs_fd, LayerWriter *writer, Progress *progress, GError **error)
{
  g_auto(Export) it = {.writer = writer, .rootfs_fd = rootfs_fd, .progress = progress};
  g_autoptr(GString) path = g_string_new(NULL);
  it.total = tree_content_size(tree);
  it.buffer = g_malloc(BUFFER_SIZE);
  it.header = g_byte_array_new();
  it.first_paths = g_hash_table_new_full(NULL, NULL, NULL, g_free);
  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL)) {
    g_string_truncate(path, 0);
    tree_node_append_path(node, path);
    if (!export_node(&it, node, path->str, error))
      return FALSE;
  }
  g_byte_array_set_size(it.header, 0);
  ustar_append_end(it.header);
  return layer_writer_write(writer, it.header->data, it.header->len, error);
}
