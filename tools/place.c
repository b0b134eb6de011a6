/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "place.h"
#include "image.h"
#include "util.h"

#define COPY_SIZE (256 * 1024)

typedef struct {
  const StagedImage *image;
  GHashTable *firsts; /* the inodes of link groups to the nodes under whose names they go */
  int rootfs_fd;
  guint8 *buffer; /* of COPY_SIZE bytes */
} Placer;

static void
placer_clear(Placer *placer)
{
  g_clear_pointer(&placer->firsts, g_hash_table_unref);
  g_clear_pointer(&placer->buffer, g_free);
  util_close_fd(&placer->rootfs_fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Placer, placer_clear)

/* Makes the directory @dirfd/@name and opens it. */
static int
make_directory(int dirfd, const char *name, GError **error)
{
  int fd = -1;

  if (mkdirat(dirfd, name, 0755) == 0)
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    util_error_errno(error, "make the directory %s of the staged image", name);
  return fd;
}

static GHashTable *
find_first_names(Tree *tree)
{
  GHashTable *firsts = g_hash_table_new(NULL, NULL);

  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL))
    if (!S_ISDIR(node->inode->mode) && node->inode->nlink > 1 &&
        !g_hash_table_contains(firsts, node->inode))
      g_hash_table_insert(firsts, node->inode, node);
  return firsts;
}

static gboolean
place_file(Placer *placer, int dirfd, const TreeNode *node, GError **error)
{
  const TreeInode *inode = node->inode;
  autofd int fd = openat(dirfd, node->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                         stage_is_executable(inode) ? 0555 : 0444);

  if (fd < 0)
    return util_error_errno(error, "make the file %s of the staged image", node->name);
  for (guint64 done = 0; done < inode->size;) {
    gsize size = (gsize)MIN(COPY_SIZE, inode->size - done);

    if (!stage_read(placer->image->stage, inode, placer->buffer, size, done, error))
      return FALSE;
    if (!util_write_all(fd, placer->buffer, size))
      return util_error_errno(error, "write the file %s of the staged image", node->name);
    done += size;
  }
  return TRUE;
}

static gboolean
place_node(Placer *placer, int dirfd, const TreeNode *node, GError **error)
{
  const TreeInode *inode = node->inode;

  if (inode->nlink > 1 && !S_ISDIR(inode->mode) &&
      g_hash_table_lookup(placer->firsts, inode) != node)
    return TRUE;
  switch (inode->mode & S_IFMT) {
  case S_IFDIR:
    return mkdirat(dirfd, node->name, 0755) == 0 ||
           util_error_errno(error, "make the directory %s of the staged image", node->name);
  case S_IFREG:
    return place_file(placer, dirfd, node, error);
  case S_IFLNK:
    return symlinkat(inode->target, dirfd, node->name) == 0 ||
           util_error_errno(error, "make the symlink %s of the staged image", node->name);
  default:
    return TRUE;
  }
}

/* Makes all entries of @dir: the directory is opened once, however it nests. */
static gboolean
place_directory(Placer *placer, TreeNode *dir, GError **error)
{
  autofd int fd = -1;
  gsize count;
  TreeNode **children = tree_children(dir, &count);
  g_autofree char *path = tree_node_path(dir);

  if (count == 0)
    return TRUE;
  fd = openat(placer->rootfs_fd, *path != '\0' ? path : ".",
              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return util_error_errno(error, "open %s of the staged image", path);
  for (gsize i = 0; i < count; i++)
    if (!place_node(placer, fd, children[i], error)) {
      g_prefix_error(error, "%s: ", path);
      return FALSE;
    }
  return TRUE;
}

static gboolean
place_parts(const StagedImage *image, int fd, GError **error)
{
  for (guint i = 0; i < STAGED_FILES; i++) {
    const StagedFile *file = &image->files[i];
    autofd int file_fd = openat(fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

    if (file_fd < 0 || !util_write_all(file_fd, file->data, file->size))
      return util_error_errno(error, "write %s of the staged image", file->name);
  }
  return TRUE;
}

gboolean
place_image(const StagedImage *image, int parent_fd, GError **error)
{
  g_auto(Placer) placer = {.image = image, .rootfs_fd = -1};
  autofd int fd = make_directory(parent_fd, image->name, error);

  if (fd < 0 || !place_parts(image, fd, error))
    return FALSE;
  placer.rootfs_fd = make_directory(fd, IMAGE_ROOTFS, error);
  if (placer.rootfs_fd < 0)
    return FALSE;
  placer.firsts = find_first_names(image->tree);
  placer.buffer = g_malloc(COPY_SIZE);
  for (TreeNode *node = tree_root(image->tree); node != NULL; node = tree_next(node, NULL))
    if (S_ISDIR(node->inode->mode) && !place_directory(&placer, node, error))
      return FALSE;
  return TRUE;
}
