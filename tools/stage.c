/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "stage.h"
#include "image.h"
#include "scratch.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

/* An inode's mark: its content was made with this permission. */
enum { MADE_PLAIN = 1, MADE_EXECUTABLE = 2 };

struct Stage {
  Scratch *scratch;
  char *path;
  int fd;         /* of @path */
  int content_fd; /* the directory of numbered files */
  int rootfs_fd;
  guint64 count; /* files made */
};

/* Makes the directory @dirfd/@name and opens it. */
static int
make_directory(int dirfd, const char *name, GError **error)
{
  int fd;

  if (mkdirat(dirfd, name, 0755) < 0) {
    util_error_errno(error, "make the directory %s of the staged image", name);
    return -1;
  }
  fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    util_error_errno(error, "open the directory %s of the staged image", name);
  return fd;
}

Stage *
stage_new(const char *name, GError **error)
{
  g_autoptr(Stage) stage = g_new0(Stage, 1);

  stage->fd = stage->content_fd = stage->rootfs_fd = -1;
  stage->scratch = scratch_new(error);
  if (stage->scratch == NULL)
    return NULL;
  stage->path = g_build_filename(stage->scratch->path, name, NULL);
  /* "content" might be the image's name: numbered files get a name that no store path has. */
  stage->content_fd = make_directory(stage->scratch->fd, ".content", error);
  if (stage->content_fd < 0)
    return NULL;
  stage->fd = make_directory(stage->scratch->fd, name, error);
  if (stage->fd < 0)
    return NULL;
  stage->rootfs_fd = make_directory(stage->fd, IMAGE_ROOTFS, error);
  return stage->rootfs_fd < 0 ? NULL : g_steal_pointer(&stage);
}

void
stage_free(Stage *stage)
{
  if (stage == NULL)
    return;
  util_close_fd(&stage->fd);
  util_close_fd(&stage->content_fd);
  util_close_fd(&stage->rootfs_fd);
  scratch_free(stage->scratch);
  g_free(stage->path);
  g_free(stage);
}

const char *
stage_path(const Stage *stage)
{
  return stage->path;
}

/* Nix keeps one bit of a file's mode: whether it is executable. */
static gboolean
is_executable(const TreeInode *inode)
{
  return (inode->mode & 0111) != 0;
}

int
stage_create_content(Stage *stage, TreeInode *inode, GError **error)
{
  char name[24];
  int fd;

  snprintf(name, sizeof name, "%" G_GUINT64_FORMAT, stage->count);
  fd = openat(stage->content_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
              is_executable(inode) ? 0555 : 0444);
  if (fd < 0) {
    util_error_errno(error, "make a file in %s", stage->scratch->path);
    return -1;
  }
  stage->count++;
  inode->content_path = g_strdup(name);
  inode->mark = is_executable(inode) ? MADE_EXECUTABLE : MADE_PLAIN;
  return fd;
}

/* The node under whose name the content of each link group goes. */
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
place_file(Stage *stage, int dirfd, const TreeNode *node, GError **error)
{
  TreeInode *inode = node->inode;

  if (renameat(stage->content_fd, inode->content_path, dirfd, node->name) < 0)
    return util_error_errno(error, "rename a file of the staged image to %s", node->name);
  /* A hard link's header may have changed it since. */
  if ((inode->mark == MADE_EXECUTABLE) != is_executable(inode) &&
      fchmodat(dirfd, node->name, is_executable(inode) ? 0555 : 0444, 0) < 0)
    return util_error_errno(error, "change the mode of %s", node->name);
  g_clear_pointer(&inode->content_path, g_free);
  inode->mark = 0;
  return TRUE;
}

static gboolean
place_node(Stage *stage, int dirfd, GHashTable *firsts, TreeNode *node, GError **error)
{
  const TreeInode *inode = node->inode;

  switch (inode->mode & S_IFMT) {
  case S_IFDIR:
    return mkdirat(dirfd, node->name, 0755) == 0 ||
           util_error_errno(error, "make the directory %s", node->name);
  case S_IFREG:
    if (inode->nlink > 1 && g_hash_table_lookup(firsts, inode) != node)
      return TRUE;
    return place_file(stage, dirfd, node, error);
  case S_IFLNK:
    if (inode->nlink > 1 && g_hash_table_lookup(firsts, inode) != node)
      return TRUE;
    return symlinkat(inode->target, dirfd, node->name) == 0 ||
           util_error_errno(error, "make the symlink %s", node->name);
  default:
    return TRUE;
  }
}

/* Makes all entries of @dir: the directory is opened once, however it nests. */
static gboolean
place_directory(Stage *stage, GHashTable *firsts, TreeNode *dir, GString *path, GError **error)
{
  autofd int fd = -1;
  gsize count;
  TreeNode **children = tree_children(dir, &count);

  if (count == 0)
    return TRUE;
  g_string_set_size(path, 0);
  tree_node_append_path(dir, path);
  /* A short name can lead deep, through symlinks. */
  if (path->len > STAGE_PATH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "a directory's path has more than %d bytes, too deep for the Nix store",
                      STAGE_PATH_MAX);
  fd = openat(stage->rootfs_fd, path->len > 0 ? path->str : ".",
              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return util_error_errno(error, "open %s of the staged image", path->str);
  for (gsize i = 0; i < count; i++)
    if (!place_node(stage, fd, firsts, children[i], error)) {
      g_prefix_error(error, "%s: ", path->str);
      return FALSE;
    }
  return TRUE;
}

gboolean
stage_place_tree(Stage *stage, Tree *tree, GError **error)
{
  g_autoptr(GHashTable) firsts = find_first_names(tree);
  g_autoptr(GString) path = g_string_new(NULL);

  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL))
    if (S_ISDIR(node->inode->mode) && !place_directory(stage, firsts, node, path, error))
      return FALSE;
  return TRUE;
}

gboolean
stage_write_file(Stage *stage, const char *name, const void *data, gsize size, GError **error)
{
  autofd int fd = openat(stage->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

  if (fd < 0 || !util_write_all(fd, data, size))
    return util_error_errno(error, "write %s/%s", stage->path, name);
  return TRUE;
}
