/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"
#include "util.h"

#include <string.h>

static TreeNode *
add(Tree *tree, TreeNode *dir, const char *name, guint32 mode)
{
  g_autoptr(TreeInode) inode = tree_inode_new(mode);

  return tree_insert(tree, dir, name, inode);
}

static void
test_order(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeNode *a = add(tree, tree_root(tree), "a", S_IFDIR | 0755);
  g_autoptr(GString) seen = g_string_new(NULL);

  add(tree, tree_root(tree), "a.b", S_IFREG | 0644);
  add(tree, tree_root(tree), "B", S_IFREG | 0644);
  add(tree, a, "z", S_IFREG | 0644);
  add(tree, a, "\xff", S_IFREG | 0644);
  for (TreeNode *n = tree_root(tree); n != NULL; n = tree_next(n, NULL)) {
    g_autofree char *path = tree_node_path(n);
    g_string_append_printf(seen, "%s|", path);
  }
  g_assert_cmpstr(seen->str, ==, "|B|a|a/z|a/\xff|a.b|");
  g_assert_cmpuint(tree_count(tree), ==, 6);
}

static void
test_large_directory(void)
{
  g_autoptr(Tree) tree = tree_new();
  char name[16];

  for (int i = 0; i < 20000; i++) {
    g_snprintf(name, sizeof name, "%05d", i * 7919 % 20000);
    g_assert_null(tree_lookup(tree_root(tree), name));
    add(tree, tree_root(tree), name, S_IFREG | 0644);
  }
  for (int i = 0; i < 20000; i += 2) {
    g_snprintf(name, sizeof name, "%05d", i);
    tree_remove(tree, tree_lookup(tree_root(tree), name));
  }
  g_assert_null(tree_lookup_path(tree, "00002"));
  g_assert_nonnull(tree_lookup_path(tree, "./19999"));
  g_assert_cmpuint(tree_count(tree), ==, 10001);
}

/* What is removed in any order, and looked up, walked and added meanwhile. */
static void
test_removal(void)
{
  g_autoptr(Tree) tree = tree_new();
  const int count = 100;
  gboolean there[100] = {0};
  guint random = 1;
  char name[16];

  for (int step = 0; step < 20000; step++) {
    random = random * 1103515245 + 12345;
    int i = (int)(random >> 16) % count;
    g_snprintf(name, sizeof name, "%03d", i);
    TreeNode *node = tree_lookup(tree_root(tree), name);
    g_assert_cmpint(node != NULL, ==, there[i]);
    there[i] = !there[i];
    if (node != NULL)
      tree_remove(tree, node);
    else
      add(tree, tree_root(tree), name, S_IFREG | 0644);
    if (step % 7 != 0)
      continue;
    TreeNode *next = tree_next(tree_root(tree), NULL);
    for (int j = 0; j < count; j++) {
      if (!there[j])
        continue;
      g_snprintf(name, sizeof name, "%03d", j);
      g_assert_cmpstr(next->name, ==, name);
      next = tree_next(next, NULL);
    }
    g_assert_null(next);
  }
}

/* Hours, if each removal looked through all names, or moved them. */
static void
test_many_removals(void)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);
  char name[16];

  for (int i = 0; i < 3000000; i++) {
    g_snprintf(name, sizeof name, "%07d", i);
    tree_insert(tree, tree_root(tree), name, inode);
  }
  for (int i = 0; i < 2999999; i++) {
    g_snprintf(name, sizeof name, "%07d", i);
    tree_remove(tree, tree_lookup(tree_root(tree), name));
  }
  g_assert_cmpuint(tree_count(tree), ==, 2);
  g_assert_cmpstr(tree_next(tree_root(tree), NULL)->name, ==, "2999999");
}

/* Names whose g_str_hash() is one and the same: hours, if the tree went by it. */
static void
test_collisions(void)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);
  const int bits = 20;
  char name[2 * 20 + 1] = {0};

  for (int i = 0; i < 1 << bits; i++) {
    for (int bit = 0; bit < bits; bit++)
      memcpy(name + 2 * bit, i & 1 << bit ? "Ez" : "FY", 2);
    g_assert_null(tree_lookup(tree_root(tree), name));
    tree_insert(tree, tree_root(tree), name, inode);
  }
  g_assert_nonnull(tree_lookup(tree_root(tree), "EzEzEzEzEzEzEzEzEzEzEzEzEzEzEzEzEzEzEzFY"));
}

static void
test_hard_links(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeNode *dir = add(tree, tree_root(tree), "d", S_IFDIR | 0755);
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);

  tree_insert(tree, dir, "x", inode);
  tree_insert(tree, tree_root(tree), "y", inode);
  g_assert_cmpuint(inode->nlink, ==, 2);
  tree_remove(tree, dir);
  g_assert_cmpuint(inode->nlink, ==, 1);
  g_assert_cmpuint(inode->refs, ==, 2);
  g_assert_cmpuint(tree_count(tree), ==, 2);
}

static void
test_replace(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeNode *dir = add(tree, tree_root(tree), "d", S_IFDIR | 0755);
  g_autoptr(TreeInode) other = tree_inode_new(S_IFDIR | 0700);
  g_autoptr(TreeInode) file = tree_inode_new(S_IFREG | 0644);

  add(tree, dir, "x", S_IFREG | 0644);
  tree_replace_inode(tree, dir, other);
  g_assert_nonnull(tree_lookup(dir, "x"));
  tree_replace_inode(tree, dir, file);
  g_assert_null(tree_lookup(dir, "x"));
  g_assert_cmpuint(tree_count(tree), ==, 2);
}

static void
test_deep(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeNode *dir = tree_root(tree);

  for (int i = 0; i < 500000; i++)
    dir = add(tree, dir, "d", S_IFDIR | 0755);
  g_assert_cmpuint(tree_count(tree), ==, 500001);
}

static void
test_xattrs(void)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);

  tree_inode_set_xattr(inode, "user.b", "2", 1);
  tree_inode_set_xattr(inode, "user.a", "", 0);
  tree_inode_set_xattr(inode, "user.b", "33", 2);
  g_assert_cmpuint(inode->xattrs->len, ==, 2);
  g_assert_cmpstr(g_array_index(inode->xattrs, TreeXattr, 0).name, ==, "user.a");
  g_assert_cmpstr((char *)tree_inode_get_xattr(inode, "user.b")->value, ==, "33");
  tree_inode_set_xattr(inode, "user.a", NULL, 0);
  tree_inode_set_xattr(inode, "user.b", NULL, 0);
  g_assert_null(inode->xattrs);
}

static void
test_names(void)
{
  g_autofree char *long_name = g_strnfill(255, 'n'), *longer = g_strnfill(256, 'n');

  g_assert_true(tree_name_is_valid(long_name));
  g_assert_true(tree_name_is_valid("..."));
  g_assert_false(tree_name_is_valid(longer));
  g_assert_false(tree_name_is_valid(""));
  g_assert_false(tree_name_is_valid("."));
  g_assert_false(tree_name_is_valid(".."));
  g_assert_false(tree_name_is_valid("a/b"));
}

static void
test_util_escape(void)
{
  g_autofree char *escaped = util_escape("a\nb\xff\xc3\xa4");

  g_assert_cmpstr(escaped, ==, "a\\x0ab\\xff\xc3\xa4");
}

static void
test_util_files(void)
{
  g_autofree char *top = g_dir_make_tmp("nixstore-util-XXXXXX", NULL);
  g_autofree char *deep = g_strdup_printf("%s/tree/a/b", top);
  g_autofree char *text = NULL;
  g_autoptr(GError) error = NULL;
  autofd int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  autofd int file = -1;
  gsize size;

  g_assert_true(util_replace_file(fd, "f", "old", 3, 0644, &error));
  g_assert_true(util_replace_file(fd, "f", "newer", 5, 0644, &error));
  file = util_openat2(fd, "f", O_RDONLY, 0, 0);
  text = util_read_all(file, 100, "f", &size, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(text, ==, "newer");
  g_assert_null(util_read_all(file, 4, "f", &size, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  g_clear_error(&error);

  g_assert_true(util_make_directory(deep, 0755, &error));
  g_assert_cmpint(symlinkat("/", fd, "tree/link"), ==, 0);
  g_assert_cmpint(fchmodat(fd, "tree/a", 0, 0), ==, 0);
  g_assert_true(util_remove_tree(fd, "tree", &error));
  g_assert_no_error(error);
  g_assert_true(util_remove_tree(fd, "f", &error));
  g_assert_true(util_remove_tree(fd, "missing", &error));
  g_assert_cmpint(rmdir(top), ==, 0);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tree/order", test_order);
  g_test_add_func("/tree/large-directory", test_large_directory);
  g_test_add_func("/tree/removal", test_removal);
  g_test_add_func("/tree/many-removals", test_many_removals);
  g_test_add_func("/tree/collisions", test_collisions);
  g_test_add_func("/tree/hard-links", test_hard_links);
  g_test_add_func("/tree/replace", test_replace);
  g_test_add_func("/tree/deep", test_deep);
  g_test_add_func("/tree/xattrs", test_xattrs);
  g_test_add_func("/tree/names", test_names);
  g_test_add_func("/util/escape", test_util_escape);
  g_test_add_func("/util/files", test_util_files);
  return g_test_run();
}
