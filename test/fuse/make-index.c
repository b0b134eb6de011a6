/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * make-index DIRECTORY INDEX [UID GID]: writes the index of a directory as it is, its own files the
 * content: what the tests compare filesystems of the index with. With UID and GID all is theirs.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "index.h"
#include "util.h"

typedef struct {
  Tree *tree;
  GHashTable *links; /* of "dev:ino" to TreeInode, which the tree holds */
  const char *uid, *gid;
} Scan;

static void
scan_xattrs(TreeInode *inode, const char *path)
{
  static char names[65536], value[65536];
  gssize size = llistxattr(path, names, sizeof names);

  for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
    gssize length = lgetxattr(path, name, value, sizeof value);
    if (length < 0)
      g_error("xattr %s of %s: %s", name, path, g_strerror(errno));
    tree_inode_set_xattr(inode, name, value, (gsize)length);
  }
}

static TreeInode *
scan_inode(const Scan *scan, const char *path, const struct stat *st)
{
  TreeInode *inode = tree_inode_new(st->st_mode);
  char target[4096];

  inode->uid = scan->uid ? (guint32)atoi(scan->uid) : st->st_uid;
  inode->gid = scan->gid ? (guint32)atoi(scan->gid) : st->st_gid;
  inode->mtime = st->st_mtim.tv_sec;
  inode->mtime_nsec = (guint32)st->st_mtim.tv_nsec;
  scan_xattrs(inode, path);
  if (S_ISREG(st->st_mode)) {
    inode->size = (guint64)st->st_size;
  } else if (S_ISLNK(st->st_mode)) {
    gssize size = readlink(path, target, sizeof target - 1);
    g_assert_cmpint(size, >, 0);
    inode->target = g_strndup(target, (gsize)size);
    inode->size = (guint64)size;
  } else if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
    inode->rdev_major = major(st->st_rdev);
    inode->rdev_minor = minor(st->st_rdev);
  }
  return inode;
}

static void
scan_directory(const Scan *scan, TreeNode *node, const char *path)
{
  DIR *directory = opendir(path);
  const struct dirent *entry;

  if (!directory)
    g_error("open %s: %s", path, g_strerror(errno));
  while ((entry = readdir(directory))) {
    g_autofree char *child = g_build_filename(path, entry->d_name, NULL);
    g_autoptr(TreeInode) inode = NULL;
    struct stat st;
    if (!tree_name_is_valid(entry->d_name) || lstat(child, &st) < 0)
      continue;
    g_autofree char *key = g_strdup_printf("%lu:%lu", (gulong)st.st_dev, (gulong)st.st_ino);
    TreeInode *known = S_ISDIR(st.st_mode) ? NULL : g_hash_table_lookup(scan->links, key);
    inode = known ? tree_inode_ref(known) : scan_inode(scan, child, &st);
    TreeNode *added = tree_insert(scan->tree, node, entry->d_name, inode);
    if (!known && st.st_nlink > 1)
      g_hash_table_insert(scan->links, g_steal_pointer(&key), inode);
    if (S_ISDIR(st.st_mode))
      scan_directory(scan, added, child);
  }
  closedir(directory);
}

int
main(int argc, char **argv)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(GHashTable) links = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr(TreeInode) root = NULL;
  g_autoptr(GError) error = NULL;
  struct stat st;

  if (argc != 3 && argc != 5) {
    fprintf(stderr, "usage: make-index DIRECTORY INDEX [UID GID]\n");
    return 2;
  }
  Scan scan = {tree, links, argc == 5 ? argv[3] : NULL, argc == 5 ? argv[4] : NULL};
  autofd int fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || lstat(argv[1], &st) < 0)
    g_error("%s or %s: %s", argv[1], argv[2], g_strerror(errno));
  root = scan_inode(&scan, argv[1], &st);
  tree_replace_inode(tree, tree_root(tree), root);
  scan_directory(&scan, tree_root(tree), argv[1]);
  if (!index_write(tree, fd, NULL, 0, &error)) {
    fprintf(stderr, "make-index: %s\n", error->message);
    return 1;
  }
  return 0;
}
