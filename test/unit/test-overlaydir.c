/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Directories of mode overlaydir, made by root and by who is root in a user namespace.
 */
#include "config.h"

#include "overlaydir.h"

#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "idmap.h"
#include "index-check.h"
#include "tree-fixture.h"
#include "unprivileged.h"
#include "util.h"

typedef struct {
  char *top, *path, *aside; /* what overlaydir_make() is to make, and where */
  int index_fd;
} Fixture;

static Tree *
make_tree(void)
{
  Tree *tree = fixture_full();
  TreeInode *inode = fixture_add_file(tree, "marked", 0644, 9);

  /* Ids that fit every namespace here. */
  tree_lookup_path(tree, "dir/passwd")->inode->uid = 1000;
  tree_lookup_path(tree, "dir/passwd")->inode->gid = 500;
  /* Times that ext4 can keep; it takes the nearest for others, as when stock Podman unpacks. */
  tree_lookup_path(tree, "dir/old")->inode->mtime = G_MININT32 + 1;
  tree_lookup_path(tree, "dir/future")->inode->mtime = G_GINT64_CONSTANT(0x37ffffffe);
  tree_inode_set_xattr(inode, "user.overlay.opaque", "y", 1);
  tree_inode_set_xattr(inode, "user.overlay.overlay.opaque", "z", 1);
  unprivileged_trim_tree(tree);
  return tree;
}

static void
write_index(Fixture *f, Tree *tree)
{
  g_autofree char *path = g_build_filename(f->top, "index", NULL);

  util_close_fd(&f->index_fd);
  f->index_fd = index_check_write(tree, path);
}

static void
set_up(Fixture *f, gconstpointer data)
{
  g_autoptr(Tree) tree = make_tree();
  g_autoptr(GError) error = NULL;
  g_autofree char *layer = NULL;

  f->top = g_dir_make_tmp("nixstore-test-overlaydir.XXXXXX", &error);
  g_assert_no_error(error);
  g_assert_cmpint(chmod(f->top, 0755), ==, 0);
  layer = g_build_filename(f->top, "layer", NULL);
  g_assert_cmpint(mkdir(layer, 0755), ==, 0);
  f->path = g_build_filename(layer, OVERLAYDIR_NAME, "key", NULL);
  f->aside = g_build_filename(f->top, OVERLAYDIR_ASIDE, NULL);
  f->index_fd = -1;
  write_index(f, tree);
}

static void
tear_down(Fixture *f, gconstpointer data)
{
  g_autoptr(GError) error = NULL;

  util_remove_tree(AT_FDCWD, f->top, &error);
  g_assert_no_error(error);
  util_close_fd(&f->index_fd);
  g_free(f->top);
  g_free(f->path);
  g_free(f->aside);
}

static GArray *
parse(const char *text)
{
  GArray *ranges = NULL;

  g_assert_true(idmap_parse(text, &ranges, NULL));
  return ranges;
}

static gboolean
is_there(const char *path)
{
  return access(path, F_OK) == 0;
}

/* ------------------------------------------------------ what was written ---- */

static void
assert_xattr(const char *path, const char *name, const void *value, gsize size)
{
  char got[65536];
  gssize length = lgetxattr(path, name, got, sizeof got);

  if (length < 0)
    g_error("%s of %s: %s", name, path, g_strerror(errno));
  g_assert_cmpmem(got, (gsize)length, value, size);
}

static void
assert_xattrs(const char *path, const TreeInode *inode)
{
  for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    g_autofree char *escaped = NULL;
    /* The kernel shows both as it maps them. */
    if (strcmp(xattr->name, "security.capability") == 0)
      continue;
    if (g_str_has_prefix(xattr->name, "user.overlay."))
      escaped = g_strconcat("user.overlay.overlay.", xattr->name + strlen("user.overlay."), NULL);
    assert_xattr(path, escaped ? escaped : xattr->name, xattr->value, xattr->size);
  }
}

static void
assert_inode(const char *path, const TreeInode *inode, const char *redirect, const GArray *uids)
{
  struct stat st;
  guint32 uid, gid;

  if (lstat(path, &st) < 0)
    g_error("%s: %s", path, g_strerror(errno));
  g_assert_true(idmap_map(uids, inode->uid, &uid) && idmap_map(uids, inode->gid, &gid));
  g_assert_cmpuint(st.st_mode, ==, inode->mode);
  g_assert_cmpuint(st.st_uid, ==, uid);
  g_assert_cmpuint(st.st_gid, ==, gid);
  g_assert_cmpint(st.st_mtim.tv_sec, ==, inode->mtime);
  g_assert_cmpint(st.st_mtim.tv_nsec, ==, inode->mtime_nsec);
  if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) {
    g_assert_cmpuint((guint64)st.st_size, ==, inode->size);
    g_assert_cmpuint(st.st_nlink, ==, inode->nlink);
  }
  if (S_ISREG(st.st_mode))
    g_assert_cmpint(st.st_blocks, <=, 8); /* at most the xattrs' */
  if (!S_ISREG(st.st_mode) || inode->size == 0)
    g_assert_cmpint(lgetxattr(path, "user.overlay.metacopy", NULL, 0), <, 0);
  else {
    assert_xattr(path, "user.overlay.metacopy", "", 0);
    assert_xattr(path, "user.overlay.redirect", redirect, strlen(redirect));
  }
  /* ACLs come with the ids that they have here. */
  if (!uids)
    assert_xattrs(path, inode);
}

static guint
count_entries(const char *path)
{
  g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
  guint count = 1;

  for (const char *name; directory && (name = g_dir_read_name(directory));) {
    g_autofree char *child = g_build_filename(path, name, NULL);
    count += g_file_test(child, G_FILE_TEST_IS_SYMLINK) ? 1 : count_entries(child);
  }
  return count;
}

/* @path is @tree, and nothing else. */
static void
assert_tree(const char *path, Tree *tree, const GArray *uids)
{
  g_autoptr(GHashTable) redirects = index_check_redirects(tree);

  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL)) {
    g_autofree char *name = tree_node_path(node);
    g_autofree char *at = *name ? g_build_filename(path, name, NULL) : g_strdup(path);
    assert_inode(at, node->inode, g_hash_table_lookup(redirects, node->inode), uids);
    if (S_ISLNK(node->inode->mode)) {
      g_autofree char *target = g_file_read_link(at, NULL);
      g_assert_cmpstr(target, ==, node->inode->target);
    }
  }
  g_assert_cmpuint(count_entries(path), ==, tree_count(tree));
}

/* ----------------------------------------------------------------- tests ---- */

static void
check_make(Fixture *f, gconstpointer data)
{
  g_autoptr(Tree) tree = make_tree();
  g_autoptr(GArray) ids = data ? parse(data) : NULL;
  g_autoptr(GError) error = NULL;
  g_autofree char *half = g_build_filename(f->aside, "half", "made", NULL);

  g_assert_true(overlaydir_is_wanted(f->path));
  g_assert_cmpint(overlaydir_open(f->path, &error), ==, -1);
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED);
  g_clear_error(&error);
  /* What was killed left this. */
  g_assert_cmpint(g_mkdir_with_parents(half, 0700), ==, 0);
  overlaydir_make(f->path, f->aside, f->index_fd, ids, ids, TRUE, &error);
  g_assert_no_error(error);
  g_assert_false(is_there(f->aside));
  assert_tree(f->path, tree, ids);
  g_assert_false(overlaydir_is_wanted(f->path));
  autofd int fd = overlaydir_open(f->path, &error);
  g_assert_no_error(error);
  g_assert_cmpint(fd, >=, 0);
  /* It is there: nothing is made. */
  g_assert_true(overlaydir_make(f->path, f->aside, f->index_fd, ids, ids, TRUE, &error));
}

/* What cannot be made leaves nothing but the note, once somebody makes it. */
static void
assert_refused(Fixture *f, const char *ids, const char *what)
{
  g_autoptr(GArray) ranges = ids ? parse(ids) : NULL;
  g_autoptr(GError) error = NULL;

  g_assert_false(overlaydir_make(f->path, f->aside, f->index_fd, ranges, ranges, TRUE, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED);
  if (!strstr(error->message, what))
    g_error("`%s` lacks `%s`", error->message, what);
  g_assert_false(is_there(f->path));
  g_assert_false(is_there(f->aside));
}

static void
check_refusals(Fixture *f, gconstpointer data)
{
  g_autoptr(Tree) tree = tree_new();

  assert_refused(f, "0:0:1000", "set the owner of /");
  assert_refused(f, "1:1:65535", "id 0 is not mapped");
  fixture_add_device(tree, "null", S_IFCHR | 0666, 1, 3);
  write_index(f, tree);
  assert_refused(f, NULL, "/null is a device");
  tree_remove(tree, tree_lookup_path(tree, "null"));
  fixture_add_file(tree, "huge", 0644, (guint64)G_MAXINT64 & ~G_GUINT64_CONSTANT(4095));
  write_index(f, tree);
  assert_refused(f, NULL, "/huge");
}

static void
check_corrupt(Fixture *f, gconstpointer data)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *path = g_build_filename(f->top, "corrupt", NULL);
  autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint(ftruncate(fd, 8192), ==, 0);
  g_assert_false(overlaydir_make(f->path, f->aside, fd, NULL, NULL, TRUE, &error));
  g_assert_nonnull(error);
  g_assert_false(is_there(f->path));
  g_assert_false(is_there(f->aside));
}

static void
test_locked(Fixture *f, gconstpointer data)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *half = g_build_filename(f->aside, "half", NULL);

  g_assert_cmpint(mkdir(f->aside, 0700), ==, 0);
  g_assert_cmpint(mkdir(half, 0700), ==, 0);
  autofd int fd = open(f->aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
  g_assert_false(overlaydir_make(f->path, f->aside, f->index_fd, NULL, NULL, FALSE, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_FAILED);
  g_assert_true(is_there(half));
  g_assert_false(is_there(f->path));
}

static void
test_trust(Fixture *f, gconstpointer data)
{
  g_autofree char *parent = g_path_get_dirname(f->path);
  g_autoptr(GError) error = NULL;

  g_assert_true(overlaydir_make(f->path, f->aside, f->index_fd, NULL, NULL, TRUE, &error));
  g_assert_cmpint(chmod(parent, 0770), ==, 0);
  g_assert_cmpint(overlaydir_open(f->path, &error), ==, -1);
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNTRUSTED);
  g_clear_error(&error);
  g_assert_cmpint(chmod(parent, 0700), ==, 0);
  /* Where it is made, too. */
  g_assert_cmpint(mkdir(f->aside, 0700), ==, 0);
  g_assert_cmpint(chmod(f->aside, 0777), ==, 0);
  util_remove_tree(AT_FDCWD, f->path, NULL);
  g_assert_false(overlaydir_make(f->path, f->aside, f->index_fd, NULL, NULL, TRUE, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNTRUSTED);
}

static void
test_wanted(Fixture *f, gconstpointer data)
{
  g_autofree char *parent = g_path_get_dirname(f->path);
  g_autofree char *failed = g_strconcat(f->path, ".failed", NULL);

  overlaydir_give_up(f->path, "a reason");
  g_assert_true(is_there(failed));
  g_assert_false(overlaydir_is_wanted(f->path));
  /* Another kernel may. */
  g_assert_true(g_file_set_contents(failed, "2.6.18\na reason\n", -1, NULL));
  g_assert_true(overlaydir_is_wanted(f->path));
  for (guint i = 0; i < OVERLAYDIR_MAX; i++) {
    g_autofree char *identity = g_strdup_printf("other%u", i);
    g_autofree char *key = overlaydir_key(identity, NULL, NULL);
    g_autofree char *name = g_build_filename(parent, key, NULL);
    g_autofree char *old = g_strdup_printf("%s/%032u", parent, i);
    g_assert_true(overlaydir_is_wanted(f->path));
    g_assert_cmpint(mkdir(name, 0700), ==, 0);
    /* Of another version: they do not count. */
    g_assert_cmpint(mkdir(old, 0700), ==, 0);
    g_assert_true(i == OVERLAYDIR_MAX - 1 || overlaydir_is_wanted(f->path));
  }
  g_assert_false(overlaydir_is_wanted(f->path));
}

/* What another version has left goes, but not while the image is mounted. */
static void
test_old(Fixture *f, gconstpointer data)
{
  g_autofree char *parent = g_path_get_dirname(f->path);
  g_autofree char *other = g_build_filename(f->top, "zv6md1b1w3g95w91bx7nra2amqm6ybb9-a=b", NULL);
  g_autofree char *rootfs = g_build_filename(other, "rootfs", NULL);
  g_autofree char *key = overlaydir_key("a", NULL, NULL);
  g_autofree char *current = g_build_filename(parent, key, NULL);
  g_autoptr(GError) error = NULL;
  g_autoptr(GPtrArray) none = overlaydir_list_old(parent, rootfs);

  g_assert_cmpuint(none->len, ==, 0);
  g_assert_cmpint(g_mkdir_with_parents(rootfs, 0755), ==, 0);
  g_assert_true(overlaydir_make(current, f->aside, f->index_fd, NULL, NULL, TRUE, &error));
  /* As it was called before. */
  g_assert_cmpint(rename(current, f->path), ==, 0);
  g_assert_true(overlaydir_make(current, f->aside, f->index_fd, NULL, NULL, TRUE, &error));
  g_autoptr(GPtrArray) old = overlaydir_list_old(parent, rootfs);
  g_assert_cmpuint(old->len, ==, 1);
  g_assert_cmpstr(old->pdata[0], ==, f->path);

  if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
      mount(rootfs, rootfs, NULL, MS_BIND, NULL) < 0)
    g_error("mount %s on itself: %s", rootfs, g_strerror(errno));
  g_autoptr(GPtrArray) used = overlaydir_list_old(parent, rootfs);
  g_assert_cmpuint(used->len, ==, 0);
  g_assert_false(overlaydir_remove_old(f->path, rootfs, &error));
  g_assert_no_error(error);
  g_assert_true(is_there(f->path));
  g_assert_cmpint(umount(rootfs), ==, 0);
  g_assert_true(overlaydir_remove_old(f->path, rootfs, &error));
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
  for (const char *name; (name = g_dir_read_name(dir));)
    g_ptr_array_add(names, g_strdup(name));
  g_assert_cmpuint(names->len, ==, 1);
  g_assert_cmpstr(names->pdata[0], ==, key);
}

/* Podman takes a layer away file by file while it holds its lock on them all. */
static void
test_give_up_locked(Fixture *f, gconstpointer data)
{
  g_autofree char *parent = g_path_get_dirname(f->path);
  g_autofree char *layers = g_strconcat(f->top, "-layers", NULL);
  g_autofree char *lock = g_build_filename(layers, "layers.lock", NULL);
  struct flock write_lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

  g_assert_cmpint(g_mkdir_with_parents(layers, 0700), ==, 0);
  autofd int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &write_lock), ==, 0);
  pid_t child = fork();
  if (child == 0) {
    util_close_fd(&fd);
    overlaydir_give_up(f->path, "a reason");
    _exit(0);
  }
  g_usleep(G_USEC_PER_SEC / 5);
  g_assert_false(is_there(parent));
  util_close_fd(&fd);
  g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
  g_assert_false(overlaydir_is_wanted(f->path));
  g_assert_true(util_remove_tree(AT_FDCWD, layers, NULL));
}

static void
test_key(void)
{
  g_autoptr(GArray) one = parse("0:100000:65536");
  g_autoptr(GArray) other = parse("0:100000:65535");
  g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *again = overlaydir_key("a", one, other);

  g_hash_table_add(keys, overlaydir_key("a", NULL, NULL));
  g_hash_table_add(keys, overlaydir_key("b", NULL, NULL));
  g_hash_table_add(keys, overlaydir_key("a", one, one));
  g_hash_table_add(keys, overlaydir_key("a", one, other));
  g_hash_table_add(keys, overlaydir_key("a", other, one));
  g_assert_cmpuint(g_hash_table_size(keys), ==, 5);
  g_assert_true(g_hash_table_contains(keys, again));
  g_assert_cmpint(*again, ==, 'v');
  g_assert_cmpuint(strlen(strchr(again, '-')), ==, 33);
}

/* -------------------------------------------------------- user namespace ---- */

typedef struct {
  void (*check)(Fixture *f, gconstpointer data);
  const char *data;
} Inside;

static void
check_key_inside(Fixture *f, gconstpointer data)
{
  g_autofree char *key = overlaydir_key("a", NULL, NULL);

  g_assert_cmpstr(key, !=, data);
}

/* Podman mounts its home on itself as long as containers run. */
static void
check_make_below_mount(Fixture *f, gconstpointer data)
{
  g_autofree char *layer = g_build_filename(f->top, "layer", NULL);

  if (unshare(CLONE_NEWNS) < 0 || mount(layer, layer, NULL, MS_BIND, NULL) < 0)
    g_error("mount %s on itself: %s", layer, g_strerror(errno));
  check_make(f, data);
}

/* Ids that the namespace has not, and what root may do outside of one. */
static void
check_refusals_inside(Fixture *f, gconstpointer data)
{
  g_autoptr(Tree) tree = tree_new();
  TreeInode *inode = fixture_add_file(tree, "file", 0644, 1);

  inode->uid = 65536;
  write_index(f, tree);
  assert_refused(f, NULL, "set the owner of /file");
  inode->uid = 0;
  tree_inode_set_xattr(inode, "trusted.note", "value", 5);
  write_index(f, tree);
  assert_refused(f, NULL, "set an extended attribute of /file");
}

/* Runs a check as root of a user namespace with the ids 0 to 65535, under their own numbers. */
static void
test_inside(Fixture *f, gconstpointer data)
{
  const Inside *inside = data;
  g_autoptr(GArray) ids = parse("0:0:65536");
  autofd int userns_fd = idmap_open_userns(ids, ids, NULL);
  int status;

  if (userns_fd < 0) {
    g_test_skip("no user namespace can be made here");
    return;
  }
  pid_t child = fork();
  g_assert_cmpint(child, >=, 0);
  if (child == 0) {
    if (setns(userns_fd, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
      g_error("enter the user namespace: %s", g_strerror(errno));
    inside->check(f, inside->data);
    _exit(0);
  }
  g_assert_cmpint(waitpid(child, &status, 0), ==, child);
  g_assert_cmpint(status, ==, 0);
}

/* Whether there are root and user.* xattrs. */
static gboolean
can_test(void)
{
  g_autofree char *path = g_build_filename(g_get_tmp_dir(), "nixstore-test.XXXXXX", NULL);
  autofd int fd = g_mkstemp(path);
  gboolean can = fd >= 0 && geteuid() == 0 && fsetxattr(fd, "user.test", "", 0, 0) == 0;

  unlink(path);
  return can;
}

#define ADD(name, data, function)                                                                  \
  g_test_add("/overlaydir/" name, Fixture, data, set_up, function, tear_down)

int
main(int argc, char **argv)
{
  g_autofree char *key = NULL;
  const Inside made = {check_make}, mapped = {check_make, "0:10000:2000:5000:5000:1"};
  const Inside below_mount = {check_make_below_mount};
  const Inside refusals = {check_refusals_inside}, all_refusals = {check_refusals},
               corrupt = {check_corrupt};

  g_test_init(&argc, &argv, NULL);
  if (!can_test()) {
    printf("1..0 # SKIP needs root, and user.* xattrs in %s\n", g_get_tmp_dir());
    return 0;
  }
  key = overlaydir_key("a", NULL, NULL);
  const Inside other_key = {check_key_inside, key};
  g_test_add_func("/overlaydir/key", test_key);
  ADD("make", NULL, check_make);
  ADD("make/mapped", "0:100000:65536", check_make);
  ADD("refusals", NULL, check_refusals);
  ADD("corrupt", NULL, check_corrupt);
  ADD("locked", NULL, test_locked);
  ADD("trust", NULL, test_trust);
  ADD("wanted", NULL, test_wanted);
  ADD("old", NULL, test_old);
  ADD("give-up-locked", NULL, test_give_up_locked);
  ADD("in-namespace/key", &other_key, test_inside);
  ADD("in-namespace/make", &made, test_inside);
  ADD("in-namespace/make/mapped", &mapped, test_inside);
  ADD("in-namespace/make/below-mount", &below_mount, test_inside);
  ADD("in-namespace/refusals", &refusals, test_inside);
  ADD("in-namespace/refusals/all", &all_refusals, test_inside);
  ADD("in-namespace/corrupt", &corrupt, test_inside);
  return g_test_run();
}
