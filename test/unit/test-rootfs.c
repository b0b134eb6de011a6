/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "rootfs.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>

#include "manifest.h"
#include "tree-fixture.h"
#include "util.h"

/* A directory of its own for each test, with the tree as the store would hold it. */
typedef struct {
  char *path;
  int fd;
  Tree *tree; /* what is expected */
} Fixture;

static void
set_up(Fixture *f, gconstpointer data)
{
  Tree *(*make)(void) = (Tree * (*)(void))(gpointer)data;
  g_autoptr(GError) error = NULL;

  f->path = g_dir_make_tmp("nixstore-test-rootfs.XXXXXX", &error);
  g_assert_no_error(error);
  f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint(f->fd, >=, 0);
  f->tree = make();
  fixture_make_rootfs(f->tree, f->fd);
}

static void
tear_down(Fixture *f, gconstpointer data)
{
  g_autoptr(GError) error = NULL;

  util_remove_tree(AT_FDCWD, f->path, &error);
  g_assert_no_error(error);
  util_close_fd(&f->fd);
  tree_free(f->tree);
  g_free(f->path);
}

/* The same tree as it comes out of a manifest: without what only the files know. */
static Tree *
unbound(Tree *tree)
{
  g_autoptr(GError) error = NULL;
  GString *text = manifest_write(tree, NULL);
  Tree *copy = manifest_parse(text->str, text->len, &error);

  g_assert_no_error(error);
  g_string_free(text, TRUE);
  return copy;
}

static void
assert_bound(Tree *tree, Tree *expected)
{
  for (TreeNode *n = tree_root(expected); n != NULL; n = tree_next(n, NULL)) {
    g_autofree char *path = tree_node_path(n);
    TreeNode *other = tree_lookup_path(tree, path);

    g_assert_nonnull(other);
    g_assert_cmpuint(other->inode->size, ==, n->inode->size);
    g_assert_cmpstr(other->inode->target, ==, n->inode->target);
    g_assert_cmpuint(other->inode->nlink, ==, n->inode->nlink);
  }
}

static void
assert_refused(Fixture *f, const char *text)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = unbound(f->tree);

  g_assert_false(rootfs_bind_tree(tree, f->fd, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  if (strstr(error->message, text) == NULL)
    g_error("`%s` lacks `%s`", error->message, text);
}

static void
assert_accepted(Fixture *f)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = unbound(f->tree);

  g_assert_true(rootfs_bind_tree(tree, f->fd, &error));
  g_assert_no_error(error);
  assert_bound(tree, f->tree);
}

static void
test_bind(Fixture *f, gconstpointer data)
{
  assert_accepted(f);
}

/* Lets the test change the directory @path. */
static void
make_writable(Fixture *f, const char *path)
{
  g_assert_cmpint(fchmodat(f->fd, path, 0755, 0), ==, 0);
}

static void
make_read_only(Fixture *f, const char *path)
{
  g_assert_cmpint(fchmodat(f->fd, path, 0555, 0), ==, 0);
}

static Tree *
make_small(void)
{
  Tree *tree = tree_new();
  TreeInode *inode;

  fixture_add(tree, "d", S_IFDIR | 0755);
  fixture_add_file(tree, "d/f", 0644, 10);
  fixture_add_symlink(tree, "d/s", "f");
  inode = fixture_add_file(tree, "d/hard", 0644, 20);
  fixture_link(tree, "d/hard2", inode);
  fixture_add(tree, "d/fifo", S_IFIFO | 0644);
  return tree;
}

/* Every way in which the files may disagree with the manifest. */
static void
test_refuse(Fixture *f, gconstpointer data)
{
  assert_accepted(f);
  make_writable(f, "d");
  assert_refused(f, "`rootfs/d` has permissions");
  make_read_only(f, "d");
  assert_accepted(f);

  make_writable(f, "d");
  g_assert_cmpint(mkdirat(f->fd, "d/new\nline", 0555), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "`rootfs/d/new\\x0aline` is not in the manifest");
  make_writable(f, "d");
  g_assert_cmpint(unlinkat(f->fd, "d/new\nline", AT_REMOVEDIR), ==, 0);

  g_assert_cmpint(mknodat(f->fd, "d/fifo", S_IFREG | 0444, 0), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "`rootfs/d/fifo` should not exist");
  make_writable(f, "d");
  g_assert_cmpint(unlinkat(f->fd, "d/fifo", 0), ==, 0);

  g_assert_cmpint(linkat(f->fd, "d/hard", f->fd, "d/hard2", 0), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "`rootfs/d/hard2` should not exist");
  make_writable(f, "d");
  g_assert_cmpint(unlinkat(f->fd, "d/hard2", 0), ==, 0);

  g_assert_cmpint(fchmodat(f->fd, "d/f", 04555, 0), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "`rootfs/d/f` has permissions");
  make_writable(f, "d");

  g_assert_cmpint(unlinkat(f->fd, "d/f", 0), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "names `rootfs/d/f`, which does not exist");
  make_writable(f, "d");
  g_assert_cmpint(symlinkat("hard", f->fd, "d/f"), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "`rootfs/d/f` is no regular file");
  make_writable(f, "d");
  g_assert_cmpint(unlinkat(f->fd, "d/f", 0), ==, 0);
  g_assert_cmpint(renameat(f->fd, "d/s", f->fd, "d/f"), ==, 0);
  g_assert_cmpint(mknodat(f->fd, "d/s", S_IFREG | 0444, 0), ==, 0);
  make_read_only(f, "d");
  assert_refused(f, "is no ");
}

static void
test_refuse_directory(Fixture *f, gconstpointer data)
{
  make_writable(f, ".");
  g_assert_cmpint(renameat(f->fd, "d", f->fd, "e"), ==, 0);
  g_assert_cmpint(symlinkat("e", f->fd, "d"), ==, 0);
  make_read_only(f, ".");
  assert_refused(f, "`rootfs/d` is no directory");
}

#define DEPTH 3000

static Tree *
make_deep(void)
{
  Tree *tree = tree_new();
  TreeNode *dir = tree_root(tree);

  for (guint i = 0; i < DEPTH; i++) {
    g_autoptr(TreeInode) inode = tree_inode_new(S_IFDIR | 0755);
    g_autoptr(TreeInode) before = tree_inode_new(S_IFREG | 0644);
    g_autoptr(TreeInode) after = tree_inode_new(S_IFREG | 0644);
    TreeNode *parent = dir;

    before->size = i;
    after->size = 2 * i;
    tree_insert(tree, parent, "a", before);
    dir = tree_insert(tree, parent, "d", inode);
    tree_insert(tree, parent, "z", after);
  }
  return tree;
}

/* Deeper than any path may be long, with few descriptors. Not through a manifest, whose paths are
 * whole. */
static void
test_deep(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = make_deep();
  g_autofree char *path = g_dir_make_tmp("nixstore-test-rootfs.XXXXXX", NULL);
  autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int dir = dup(fd);
  struct rlimit old, limit;
  TreeNode *node;

  for (guint i = 0; i < DEPTH; i++) {
    autofd int parent = dir;
    autofd int before = openat(parent, "a", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    autofd int after = openat(parent, "z", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);

    g_assert_cmpint(ftruncate(before, 3 * i), ==, 0);
    g_assert_cmpint(ftruncate(after, 5 * i), ==, 0);
    g_assert_cmpint(mkdirat(parent, "d", 0755), ==, 0);
    dir = openat(parent, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(dir, >=, 0);
    g_assert_cmpint(fchmod(parent, 0555), ==, 0);
  }
  g_assert_cmpint(fchmod(dir, 0555), ==, 0);
  close(dir);

  getrlimit(RLIMIT_NOFILE, &old);
  limit = (struct rlimit){100, old.rlim_max};
  setrlimit(RLIMIT_NOFILE, &limit);
  g_assert_true(rootfs_bind_tree(tree, fd, &error));
  g_assert_no_error(error);
  setrlimit(RLIMIT_NOFILE, &old);

  node = tree_root(tree);
  for (guint i = 0; i < DEPTH; i++) {
    g_assert_cmpuint(tree_lookup(node, "a")->inode->size, ==, 3 * i);
    g_assert_cmpuint(tree_lookup(node, "z")->inode->size, ==, 5 * i);
    node = tree_lookup(node, "d");
  }
  g_assert_true(util_remove_tree(AT_FDCWD, path, &error));
  g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add("/rootfs/bind/full", Fixture, fixture_full, set_up, test_bind, tear_down);
  g_test_add("/rootfs/bind/sizes", Fixture, fixture_sizes, set_up, test_bind, tear_down);
  g_test_add("/rootfs/bind/directories", Fixture, fixture_directories, set_up, test_bind,
             tear_down);
  g_test_add("/rootfs/refuse", Fixture, make_small, set_up, test_refuse, tear_down);
  g_test_add("/rootfs/refuse/directory", Fixture, make_small, set_up, test_refuse_directory,
             tear_down);
  g_test_add_func("/rootfs/deep", test_deep);
  return g_test_run();
}
