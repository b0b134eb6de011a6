/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "export-tar.h"
#include "util.h"

#include <archive.h>
#include <archive_entry.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sysmacros.h>

#define BUFFER_SIZE (1024 * 1024)

typedef struct {
  struct archive *archive;
  struct archive_entry *entry;
  LayerWriter *writer;
  GError *failure; /* what made libarchive's write callback fail */
  int rootfs_fd;
  GHashTable *first_paths; /* inode of several names -> the path (char *) that came first */
  guint8 *buffer;
  Progress *progress;
  guint64 done, total;
} Export;

static void
export_clear(Export *it)
{
  archive_entry_free(it->entry);
  archive_write_free(it->archive);
  g_clear_error(&it->failure);
  g_clear_pointer(&it->first_paths, g_hash_table_unref);
  g_free(it->buffer);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Export, export_clear)

static la_ssize_t
write_callback(struct archive *archive, void *data, const void *buffer, size_t size)
{
  Export *it = data;
  if (it->failure || !layer_writer_write(it->writer, buffer, size, &it->failure)) {
    archive_set_error(archive, EIO, "write");
    return -1;
  }
  return (la_ssize_t)size;
}

static gboolean
archive_failed(Export *it, const char *path, GError **error)
{
  if (it->failure) {
    g_propagate_error(error, g_steal_pointer(&it->failure));
    return FALSE;
  }
  return util_error(error, NIXSTORE_ERROR_FAILED, "write %s to the archive: %s", path,
                    archive_error_string(it->archive));
}

static gboolean
export_start(Export *it, GError **error)
{
  it->archive = archive_write_new();
  it->entry = archive_entry_new();
  it->buffer = g_malloc(BUFFER_SIZE);
  it->first_paths = g_hash_table_new_full(NULL, NULL, NULL, g_free);
  /* Names go out as they are, whatever the locale: only then the bytes are always the same. */
  gboolean ok = archive_write_set_format_pax(it->archive) == ARCHIVE_OK &&
                archive_write_set_options(it->archive, "pax:hdrcharset=BINARY") == ARCHIVE_OK &&
                archive_write_set_options(it->archive, "pax:xattrheader=SCHILY") == ARCHIVE_OK &&
                archive_write_set_bytes_per_block(it->archive, BUFFER_SIZE) == ARCHIVE_OK &&
                archive_write_set_bytes_in_last_block(it->archive, 1) == ARCHIVE_OK &&
                archive_write_open(it->archive, it, NULL, write_callback, NULL) == ARCHIVE_OK;
  return ok || archive_failed(it, "the header", error);
}

static void
set_attributes(struct archive_entry *entry, const TreeInode *inode)
{
  archive_entry_set_mode(entry, inode->mode);
  archive_entry_set_uid(entry, inode->uid);
  archive_entry_set_gid(entry, inode->gid);
  archive_entry_set_mtime(entry, inode->mtime, (long)inode->mtime_nsec);
  archive_entry_set_size(entry, S_ISREG(inode->mode) ? (la_int64_t)inode->size : 0);
  if (S_ISLNK(inode->mode))
    archive_entry_set_symlink(entry, inode->target);
  if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
    archive_entry_set_rdevmajor(entry, inode->rdev_major);
    archive_entry_set_rdevminor(entry, inode->rdev_minor);
  }
  for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    archive_entry_xattr_add_entry(entry, xattr->name, xattr->value, xattr->size);
  }
}

/* The file at @path, which must be as long as the header says. */
static gboolean
write_content(Export *it, const TreeInode *inode, const char *path, GError **error)
{
  const char *name = inode->content_path ? inode->content_path : path;
  struct stat st;
  autofd int fd = util_openat2(it->rootfs_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd < 0 || fstat(fd, &st) < 0)
    return util_error_errno(error, "open rootfs/%s", name);
  if (!S_ISREG(st.st_mode) || (guint64)st.st_size != inode->size)
    return util_error(error, NIXSTORE_ERROR_INVALID, "rootfs/%s changed while it was read", name);
  for (guint64 left = inode->size; left > 0;) {
    gssize n = read(fd, it->buffer, MIN(left, BUFFER_SIZE));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return util_error_errno(error, "read rootfs/%s", name);
    if (n == 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "rootfs/%s changed while it was read", name);
    if (archive_write_data(it->archive, it->buffer, (size_t)n) != n)
      return archive_failed(it, path, error);
    left -= (guint64)n;
    it->done += (guint64)n;
    progress_set(it->progress, it->done, it->total);
  }
  return TRUE;
}

/* @path, relative to the root; "" for the root itself. */
static gboolean
export_node(Export *it, const TreeNode *node, const char *path, GError **error)
{
  TreeInode *inode = node->inode;
  const char *first = g_hash_table_lookup(it->first_paths, inode);
  archive_entry_clear(it->entry);
  archive_entry_set_pathname(it->entry, *path ? path : "./");
  set_attributes(it->entry, inode);
  if (first) {
    archive_entry_set_hardlink(it->entry, first);
    archive_entry_set_size(it->entry, 0);
    archive_entry_xattr_clear(it->entry);
  } else if (!S_ISDIR(inode->mode) && inode->nlink > 1) {
    g_hash_table_insert(it->first_paths, inode, g_strdup(path));
  }
  if (archive_write_header(it->archive, it->entry) != ARCHIVE_OK)
    return archive_failed(it, path, error);
  return first || !S_ISREG(inode->mode) || write_content(it, inode, path, error);
}

static guint64
content_size(Tree *tree)
{
  guint64 size = 0;
  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL))
    if (S_ISREG(node->inode->mode))
      size += node->inode->size / MAX(node->inode->nlink, 1);
  return size;
}

gboolean
export_tar(Tree *tree, int rootfs_fd, LayerWriter *writer, Progress *progress, GError **error)
{
  g_auto(Export) it = {.writer = writer, .rootfs_fd = rootfs_fd, .progress = progress};
  g_autoptr(GString) path = g_string_new(NULL);
  it.total = content_size(tree);
  if (!export_start(&it, error))
    return FALSE;
  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL)) {
    g_string_truncate(path, 0);
    tree_node_append_path(node, path);
    if (!export_node(&it, node, path->str, error))
      return FALSE;
  }
  return archive_write_close(it.archive) == ARCHIVE_OK || archive_failed(&it, "its end", error);
}
