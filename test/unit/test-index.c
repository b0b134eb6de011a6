/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index.h"

#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "index-check.h"
#include "tree-fixture.h"
#include "util.h"

#define N_RANDOM 40

static char *scratch; /* directory */

static char *
scratch_path(const char *name)
{
  return g_build_filename(scratch, name, NULL);
}

/* Every tree of the tests by number; NULL beyond the last. */
static Tree *
make_tree(guint number)
{
  Tree *tree;

  switch (number) {
  case 0:
    return tree_new();
  case 1:
    return fixture_full();
  case 2:
    tree = fixture_full();
    fixture_add_overlay_xattrs(tree);
    return tree;
  case 3:
    return fixture_directories();
  case 4:
    return fixture_sizes();
  case 5:
    return fixture_system(5000);
  default:
    return number < 6 + N_RANDOM ? fixture_random(number) : NULL;
  }
}

static void
test_round_trip(void)
{
  g_autofree char *path = scratch_path("index");

  for (guint i = 0;; i++) {
    g_autoptr(Tree) tree = make_tree(i);
    g_autoptr(GError) error = NULL;

    if (tree == NULL)
      break;
    autofd int fd = index_check_write(tree, path);
    g_autoptr(Index) index = index_open(fd, &error);
    g_assert_no_error(error);
    index_check_reader(index, tree);
  }
}

static char *
file_digest(int fd)
{
  g_autoptr(GError) error = NULL;
  gsize size;
  g_autofree char *data = util_read_all(fd, 1 << 30, "index", &size, &error);

  g_assert_no_error(error);
  g_assert_cmpuint(size % 4096, ==, 0);
  return util_sha256_hex(data, size);
}

/* The bytes of version 2. When they must change, INDEX_FORMAT_VERSION must too. */
static void
test_golden(void)
{
  static const char *const golden[] = {
      "b27812ab14b4b04475bacdc90eee7894b325b35fd9259369aade50931a77a941",
      "e96e6600c8a60e9ee7bf013bcb7fbdf8820960c5c172ea855622a9294f217834",
      "824124460db0d6ced7577a7c0f9a7aa454bef026d03eb521b64593178381d0eb",
      "3729a041f7b21b19cbb28ab793fed1fc527571f2bbb04e2ea2c03620e211a37b",
      "5dd5d16f9335ce15feb8fa777901acddefa990748055017a02bd5424008bc0bb",
  };
  g_autofree char *path = scratch_path("index");

  g_assert_cmpint(INDEX_FORMAT_VERSION, ==, 2);
  for (guint i = 0; i < G_N_ELEMENTS(golden); i++) {
    g_autoptr(Tree) tree = make_tree(i);

    /* Twice from one tree: what the first left in it must not matter. */
    for (guint j = 0; j < 2; j++) {
      autofd int fd = index_check_write(tree, path);
      g_autofree char *digest = file_digest(fd);
      g_assert_cmpstr(digest, ==, golden[i]);
    }
  }
}

static gboolean
run_judge(const char *program, const char *option, const char *path)
{
  const char *argv[] = {program, option, path, NULL};
  g_autofree char *output = NULL, *errors = NULL;
  g_autoptr(GError) error = NULL;
  int status;

  if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &errors,
                    &status, &error)) {
    g_assert_error(error, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT);
    return FALSE;
  }
  if (status != 0 || strstr(errors, "<E>") != NULL || strstr(output, "<E>") != NULL)
    g_error("%s %s: %s%s", program, path, output, errors);
  return TRUE;
}

static void
test_fsck(void)
{
  g_autofree char *path = scratch_path("index");

  for (guint i = 0;; i++) {
    g_autoptr(Tree) tree = make_tree(i);

    if (tree == NULL)
      break;
    autofd int fd = index_check_write(tree, path);
    if (!run_judge("fsck.erofs", "-d3", path) || !run_judge("dump.erofs", "-sS", path)) {
      g_test_skip("erofs-utils is not installed");
      return;
    }
  }
}

/* Once a process: mounts that nobody else sees and that go with it. */
static gboolean
have_private_mounts(void)
{
  static int have = -1;

  if (have < 0)
    have = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
  return have;
}

/* FALSE, and the test skipped, when the kernel cannot mount a plain file. */
static gboolean
mount_index(const char *path, const char *target)
{
  g_autofree char *why = NULL;

  if (!have_private_mounts()) {
    g_test_skip("mounts need root");
    return FALSE;
  }
  if (mount(path, target, "erofs", MS_RDONLY, NULL) == 0)
    return TRUE;
  if (errno != ENOTBLK && errno != ENODEV && errno != EINVAL && errno != EPERM)
    g_error("mount %s: %s", path, g_strerror(errno));
  why = g_strdup_printf("mount -t erofs of a file: %s", g_strerror(errno));
  g_test_skip(why);
  return FALSE;
}

static void
check_kernel_xattrs(int fd, const char *path, const TreeInode *inode, const char *redirect)
{
  g_autofree char *full = g_strdup_printf("/proc/self/fd/%d/%s", fd, path);
  g_autofree char *value = g_malloc(65536);
  gssize size;
  char byte;

  for (guint i = 0; inode->xattrs != NULL && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    g_autofree char *name = g_str_has_prefix(xattr->name, "trusted.overlay.")
                                ? g_strconcat("trusted.overlay.overlay.", xattr->name + 16, NULL)
                                : g_strdup(xattr->name);

    /* user.* is for files and directories, whatever the file system says. */
    if (g_str_has_prefix(name, "user.") && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
      continue;
    size = lgetxattr(full, name, value, 65536);
    g_assert_cmpint(size, >=, 0);
    g_assert_cmpmem(value, (gsize)size, xattr->value, xattr->size);
  }
  size = lgetxattr(full, "trusted.overlay.redirect", value, 65536);
  if (redirect != NULL)
    g_assert_cmpmem(value, (gsize)MAX(size, 0), redirect, strlen(redirect));
  else
    g_assert_cmpint(size, ==, -1);
  g_assert_cmpint(lgetxattr(full, "trusted.overlay.metacopy", &byte, 1), ==,
                  redirect != NULL ? 0 : -1);
}

static void
check_kernel_node(int fd, TreeNode *node, const char *redirect)
{
  g_autofree char *path = tree_node_path(node);
  const TreeInode *inode = node->inode;
  struct stat st;

  if (strlen(path) > 4000)
    return;
  g_assert_cmpint(fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), ==, 0);
  g_assert_cmpuint(st.st_ino, ==, inode->nid);
  g_assert_cmpuint(st.st_mode, ==, inode->mode);
  g_assert_cmpuint(st.st_uid, ==, inode->uid);
  g_assert_cmpuint(st.st_gid, ==, inode->gid);
  g_assert_cmpint(st.st_mtim.tv_sec, ==, inode->mtime);
  g_assert_cmpint(st.st_mtim.tv_nsec, ==, inode->mtime_nsec);
  if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
    g_assert_cmpuint(st.st_rdev, ==, makedev(inode->rdev_major, inode->rdev_minor));
  if (!S_ISDIR(inode->mode)) {
    g_assert_cmpuint(st.st_nlink, ==, inode->nlink);
    g_assert_cmpint(st.st_size, ==, (gint64)inode->size);
  }
  if (S_ISLNK(inode->mode)) {
    char target[PATH_MAX];
    gssize size = readlinkat(fd, path, target, sizeof target);
    g_assert_cmpmem(target, (gsize)MAX(size, 0), inode->target, strlen(inode->target));
  }
  check_kernel_xattrs(fd, path, inode, redirect);
}

/* What `find` counts, against the tree: nothing may be there twice. */
static void
check_kernel_count(const char *target, Tree *tree)
{
  const char *argv[] = {"find", target, "-printf", ".", NULL};
  g_autofree char *output = NULL;
  g_autoptr(GError) error = NULL;

  g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output,
                             NULL, NULL, &error));
  g_assert_cmpuint(strlen(output), ==, tree_count(tree));
}

static void
test_kernel(void)
{
  g_autofree char *path = scratch_path("index"), *target = scratch_path("mnt");

  g_assert_cmpint(mkdir(target, 0700), ==, 0);
  for (guint i = 0;; i++) {
    g_autoptr(Tree) tree = make_tree(i);

    if (tree == NULL)
      break;
    autofd int fd = index_check_write(tree, path);
    g_autoptr(GHashTable) redirects = index_check_redirects(tree);
    if (!mount_index(path, target))
      break;
    autofd int root = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check_kernel_count(target, tree);
    for (TreeNode *n = tree_root(tree); n != NULL; n = tree_next(n, NULL))
      check_kernel_node(root, n, g_hash_table_lookup(redirects, n->inode));
    util_close_fd(&root);
    g_assert_cmpint(umount2(target, 0), ==, 0);
  }
  g_assert_cmpint(rmdir(target), ==, 0);
}

/* Through overlayfs, with the files as data-only layer: what a container sees. */
static void
test_overlay(void)
{
  g_autoptr(Tree) tree = fixture_full();
  g_autofree char *path = scratch_path("index"), *target = scratch_path("mnt");
  g_autofree char *rootfs = scratch_path("rootfs"), *options = NULL, *file = NULL;
  g_autoptr(GError) error = NULL;
  char value[64];
  struct stat st;

  fixture_add_overlay_xattrs(tree);
  g_assert_cmpint(mkdir(target, 0700), ==, 0);
  g_assert_cmpint(mkdir(rootfs, 0700), ==, 0);
  autofd int data = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fixture_make_rootfs(tree, data);
  autofd int fd = index_check_write(tree, path);
  if (!mount_index(path, target))
    goto out;
  options = g_strdup_printf("lowerdir=%s::%s,metacopy=on,xino=on", target, rootfs);
  if (mount("overlay", target, "overlay", MS_RDONLY, options) != 0) {
    g_test_skip("overlayfs has no data-only layers");
    umount2(target, 0);
    goto out;
  }
  file = g_build_filename(target, "overlay/opaque/file", NULL);
  g_assert_cmpint(lgetxattr(file, "trusted.overlay.redirect", value, sizeof value), ==, 11);
  g_assert_cmpmem(value, 11, "/dir/shadow", 11);
  g_assert_cmpint(lgetxattr(file, "trusted.overlay.metacopy", value, sizeof value), ==, -1);
  g_assert_cmpint(lgetxattr(file, "trusted.overlay.overlay.redirect", value, sizeof value), ==, 5);
  g_assert_cmpint(stat(file, &st), ==, 0);
  g_assert_cmpint(st.st_size, ==, 6);
  autofd int content = open(file, O_RDONLY | O_CLOEXEC);
  g_assert_cmpint(read(content, value, sizeof value), ==, 6);
  util_close_fd(&content);
  g_free(file);
  file = g_build_filename(target, "overlay/opaque", NULL);
  g_assert_cmpint(lgetxattr(file, "trusted.overlay.opaque", value, sizeof value), ==, 1);
  g_assert_cmpint(lgetxattr(file, "user.overlay.opaque", value, sizeof value), ==, 1);
  g_free(file);
  file = g_build_filename(target, "overlay/empty", NULL);
  g_assert_cmpint(lgetxattr(file, "trusted.overlay.whiteout", value, sizeof value), ==, 0);
  check_kernel_count(target, tree);
  g_assert_cmpint(umount2(target, 0), ==, 0);
  g_assert_cmpint(umount2(target, 0), ==, 0);
out:
  g_assert_true(util_remove_tree(AT_FDCWD, rootfs, &error));
  g_assert_cmpint(rmdir(target), ==, 0);
}

/* A hundred thousand entries in one directory: reader, fsck and kernel. */
static void
test_large_directory(void)
{
  g_autofree char *path = scratch_path("index"), *target = scratch_path("mnt");
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(GError) error = NULL;
  TreeNode *dir;

  fixture_add(tree, "large", S_IFDIR | 0755);
  dir = tree_lookup_path(tree, "large");
  for (guint i = 0; i < 100000; i++) {
    g_autofree char *name = g_strdup_printf("%u-%0*u", i, (int)(i % 40), 7);
    g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);

    inode->size = i;
    tree_insert(tree, dir, name, inode);
  }
  autofd int fd = index_check_write(tree, path);
  g_autoptr(Index) index = index_open(fd, &error);
  g_assert_no_error(error);
  index_check_reader(index, tree);
  run_judge("fsck.erofs", "-d3", path);
  g_assert_cmpint(mkdir(target, 0700), ==, 0);
  if (mount_index(path, target)) {
    autofd int root = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check_kernel_count(target, tree);
    for (TreeNode *n = dir; n != NULL; n = tree_next(n, NULL)) {
      g_autofree char *name = tree_node_path(n);
      struct stat st;

      g_assert_cmpint(fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW), ==, 0);
      g_assert_cmpuint(st.st_ino, ==, n->inode->nid);
    }
    util_close_fd(&root);
    g_assert_cmpint(umount2(target, 0), ==, 0);
  }
  g_assert_cmpint(rmdir(target), ==, 0);
}

static void
check_redirect(const Index *index, const char *path, const char *expected)
{
  g_auto(GStrv) names = g_strsplit(path, "/", -1);
  guint64 nid = index_root_nid(index);
  char redirect[256];

  for (guint i = 0; names[i] != NULL; i++)
    g_assert_cmpint(index_lookup(index, nid, names[i], strlen(names[i]), &nid), ==, 0);
  g_assert_cmpint(index_redirect(index, nid, redirect, sizeof redirect), ==, 0);
  g_assert_cmpstr(redirect, ==, expected);
}

static void
test_redirects(void)
{
  static const char *const prefixes[] = {"/one", "/two/diff"};
  g_autofree char *path = scratch_path("index");
  autofd int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = tree_new();
  TreeInode *inode;

  /* In tree order a/b/c is before a/bb, though a walk by directories meets that first. */
  fixture_add(tree, "a", S_IFDIR | 0755);
  inode = fixture_add_file(tree, "a/bb", 0644, 1);
  fixture_add(tree, "a/b", S_IFDIR | 0755);
  fixture_link(tree, "a/b/c", inode);
  fixture_link(tree, "a/a-z", inode);
  tree_remove(tree, tree_lookup_path(tree, "a/a-z"));
  inode->content_layer = 1;
  inode = fixture_add_file(tree, "a/else", 0644, 1);
  inode->content_path = g_strdup("other/place");
  fixture_link(tree, "a/0", inode);
  fixture_add_file(tree, "top", 0644, 1)->content_layer = 1;

  g_assert_true(index_write(tree, fd, prefixes, G_N_ELEMENTS(prefixes), &error));
  g_assert_no_error(error);
  g_autoptr(Index) index = index_open(fd, &error);
  g_assert_no_error(error);
  check_redirect(index, "a/bb", "/two/diff/a/b/c");
  check_redirect(index, "a/b/c", "/two/diff/a/b/c");
  check_redirect(index, "a/else", "/one/other/place");
  check_redirect(index, "a/0", "/one/other/place");
  check_redirect(index, "top", "/two/diff/top");
}

static void
assert_unwritable(Tree *tree, int code, const char *text)
{
  g_autofree char *path = scratch_path("index");
  autofd int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  g_autoptr(GError) error = NULL;

  g_assert_false(index_write(tree, fd, NULL, 0, &error));
  g_assert_error(error, NIXSTORE_ERROR, code);
  if (strstr(error->message, text) == NULL)
    g_error("`%s` lacks `%s`", error->message, text);
  g_assert_null(index_open(fd, NULL));
  tree_free(tree);
}

static void
test_unwritable(void)
{
  g_autofree char *value = g_strnfill(65536, 'v');
  g_autofree char *name = g_strnfill(255, 'n');
  Tree *tree;
  TreeInode *inode;

  tree = tree_new();
  fixture_add_device(tree, "null", S_IFCHR | 0666, 0, 0);
  assert_unwritable(tree, NIXSTORE_ERROR_INVALID, "`/null`");
  tree = tree_new();
  fixture_add_device(tree, "big", S_IFBLK | 0666, 0x1000, 0);
  assert_unwritable(tree, NIXSTORE_ERROR_UNSUPPORTED, "4096:0");
  tree = tree_new();
  fixture_add(tree, "link", S_IFLNK | 0777);
  assert_unwritable(tree, NIXSTORE_ERROR_INVALID, "no target");
  tree = tree_new();
  fixture_add(tree, "odd", 0644);
  assert_unwritable(tree, NIXSTORE_ERROR_INVALID, "no known type");
  tree = tree_new();
  tree_inode_set_xattr(tree_root(tree)->inode, "user.v", value, 65536);
  assert_unwritable(tree, NIXSTORE_ERROR_UNSUPPORTED, "65536 bytes");
  tree = tree_new();
  tree_inode_set_xattr(tree_root(tree)->inode, "system.nfs4_acl", "", 0);
  assert_unwritable(tree, NIXSTORE_ERROR_UNSUPPORTED, "`system.nfs4_acl`");
  tree = tree_new();
  memcpy(name, "trusted.overlay.", 16);
  inode = fixture_add_file(tree, "f", 0644, 1);
  tree_inode_set_xattr(inode, name, "", 0);
  assert_unwritable(tree, NIXSTORE_ERROR_UNSUPPORTED, "too long");
}

static void
test_disk_full(void)
{
  g_autofree char *target = scratch_path("small"), *path = scratch_path("small/index");
  g_autoptr(Tree) tree = fixture_system(20000);
  g_autoptr(GError) error = NULL;

  if (!have_private_mounts()) {
    g_test_skip("mounts need root");
    return;
  }
  g_assert_cmpint(mkdir(target, 0700), ==, 0);
  g_assert_cmpint(mount("tmpfs", target, "tmpfs", 0, "size=1m"), ==, 0);
  autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_false(index_write(tree, fd, NULL, 0, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_FAILED);
  g_assert_nonnull(strstr(error->message, g_strerror(ENOSPC)));
  g_assert_null(index_open(fd, NULL));
  util_close_fd(&fd);
  g_assert_cmpint(umount2(target, 0), ==, 0);
  g_assert_cmpint(rmdir(target), ==, 0);
}

int
main(int argc, char **argv)
{
  g_autoptr(GError) error = NULL;
  int result;

  g_test_init(&argc, &argv, NULL);
  scratch = g_dir_make_tmp("nixstore-test-index.XXXXXX", &error);
  g_assert_no_error(error);
  g_test_add_func("/index/round-trip", test_round_trip);
  g_test_add_func("/index/golden", test_golden);
  g_test_add_func("/index/redirects", test_redirects);
  g_test_add_func("/index/unwritable", test_unwritable);
  g_test_add_func("/index/fsck", test_fsck);
  g_test_add_func("/index/kernel", test_kernel);
  g_test_add_func("/index/large-directory", test_large_directory);
  g_test_add_func("/index/overlay", test_overlay);
  g_test_add_func("/index/disk-full", test_disk_full);
  result = g_test_run();
  util_remove_tree(AT_FDCWD, scratch, NULL);
  return result;
}
