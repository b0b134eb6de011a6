/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "unprivileged.h"

#include <sys/stat.h>

#include "tree-fixture.h"

/* In turn: what an inode of each kind keeps of them. */
static const char *const names[] = {
    "user.note",
    "security.capability",
    "system.posix_acl_access",
    "system.posix_acl_default",
    "security.selinux",
    "security.ima",
    "trusted.note",
    "trusted.overlayish",
    "security.capabilities",
    "userx.note",
};

static TreeInode *
add_with_xattrs(Tree *tree, const char *path, guint32 mode)
{
  TreeInode *inode =
      S_ISLNK(mode) ? fixture_add_symlink(tree, path, "target") : fixture_add(tree, path, mode);

  for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
    tree_inode_set_xattr(inode, names[i], "value", 5);
  return inode;
}

static void
assert_keeps(const TreeInode *inode, guint first, guint count)
{
  for (guint i = 0; i < G_N_ELEMENTS(names); i++)
    if ((i >= first && i < first + count) != (tree_inode_get_xattr(inode, names[i]) != NULL))
      g_error("%s of an inode of mode %o", names[i], inode->mode);
  g_assert_cmpuint(inode->xattrs ? inode->xattrs->len : 0, ==, count);
}

static void
test_xattrs(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeInode *file = add_with_xattrs(tree, "file", S_IFREG | 0644);
  TreeInode *directory = add_with_xattrs(tree, "directory", S_IFDIR | 0755);
  TreeInode *fifo = add_with_xattrs(tree, "directory/fifo", S_IFIFO | 0600);
  TreeInode *link = add_with_xattrs(tree, "link", S_IFLNK | 0777);
  TreeInode *bare = fixture_add_file(tree, "bare", 04755, 3);

  tree_inode_set_xattr(tree_root(tree)->inode, "trusted.note", "value", 5);
  fixture_link(tree, "second", file);
  unprivileged_trim_tree(tree);
  assert_keeps(file, 0, 4);
  assert_keeps(directory, 0, 4);
  assert_keeps(fifo, 1, 3);
  assert_keeps(link, 1, 3);
  assert_keeps(bare, 0, 0);
  assert_keeps(tree_root(tree)->inode, 0, 0);
  g_assert_cmpuint(bare->mode, ==, S_IFREG | 04755);
  g_assert_cmpuint(file->nlink, ==, 2);
  g_assert_cmpmem(tree_inode_get_xattr(file, "user.note")->value, 5, "value", 5);
}

static void
test_devices(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeInode *disk;

  /* First, last and alone in their directories. */
  fixture_add(tree, "dev", S_IFDIR | 0755);
  fixture_add_device(tree, "dev/a", S_IFCHR | 0666, 1, 3);
  fixture_add_file(tree, "dev/b", 0644, 0);
  disk = fixture_add_device(tree, "dev/c", S_IFBLK | 0660, 8, 1);
  fixture_add(tree, "only", S_IFDIR | 0700);
  fixture_link(tree, "only/disk", disk);
  fixture_add(tree, "pipe", S_IFIFO | 0600);
  fixture_add_device(tree, "zero", S_IFCHR | 0666, 1, 5);
  unprivileged_trim_tree(tree);
  g_assert_cmpuint(tree_count(tree), ==, 5);
  g_assert_nonnull(tree_lookup_path(tree, "dev/b"));
  g_assert_nonnull(tree_lookup_path(tree, "only"));
  g_assert_nonnull(tree_lookup_path(tree, "pipe"));
}

/* Everything that there is, and again: nothing is left to take out. */
static void
test_again(void)
{
  g_autoptr(Tree) tree = fixture_full();
  gsize count;

  unprivileged_trim_tree(tree);
  count = tree_count(tree);
  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL))
    g_assert_false(S_ISCHR(node->inode->mode) || S_ISBLK(node->inode->mode));
  g_assert_nonnull(
      tree_inode_get_xattr(tree_lookup_path(tree, "xattr/several")->inode, "user.binary"));
  unprivileged_trim_tree(tree);
  g_assert_cmpuint(tree_count(tree), ==, count);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/unprivileged/xattrs", test_xattrs);
  g_test_add_func("/unprivileged/devices", test_devices);
  g_test_add_func("/unprivileged/again", test_again);
  return g_test_run();
}
