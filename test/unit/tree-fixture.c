/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tree-fixture.h"

#include <string.h>

#include "util.h"

TreeInode *
fixture_add(Tree *tree, const char *path, guint32 mode)
{
  g_autoptr(TreeInode) inode = tree_inode_new(mode);

  inode->mtime = 1;
  fixture_link(tree, path, inode);
  return inode; /* the tree holds it */
}

void
fixture_link(Tree *tree, const char *path, TreeInode *inode)
{
  const char *slash = strrchr(path, '/');
  g_autofree char *parent = g_strndup(path, slash != NULL ? (gsize)(slash - path) : 0);
  TreeNode *dir = tree_lookup_path(tree, parent);

  g_assert_nonnull(dir);
  tree_insert(tree, dir, slash != NULL ? slash + 1 : path, inode);
}

TreeInode *
fixture_add_file(Tree *tree, const char *path, guint32 mode, guint64 size)
{
  TreeInode *inode = fixture_add(tree, path, S_IFREG | mode);

  inode->size = size;
  return inode;
}

TreeInode *
fixture_add_symlink(Tree *tree, const char *path, const char *target)
{
  TreeInode *inode = fixture_add(tree, path, S_IFLNK | 0777);

  inode->target = g_strdup(target);
  inode->size = strlen(target);
  return inode;
}

TreeInode *
fixture_add_device(Tree *tree, const char *path, guint32 mode, guint32 major, guint32 minor)
{
  TreeInode *inode = fixture_add(tree, path, mode);

  inode->rdev_major = major;
  inode->rdev_minor = minor;
  return inode;
}

static void
add_xattrs(Tree *tree)
{
  static const guint8 capability[] = {1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  /* user::rw-, user:1234:rwx, group::r--, mask::rwx, other::--- as posix_acl_xattr.h has it. */
  static const guint8 acl[] = {2, 0,   0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  7,
                               0, 210, 4,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                               7, 0,   255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
  TreeInode *inode;

  for (int i = 0; i < 5; i++) {
    g_autofree char *path = g_strdup_printf("xattr/cap%d", i);
    inode = fixture_add_file(tree, path, 0755, 10);
    tree_inode_set_xattr(inode, "security.capability", capability, sizeof capability);
  }
  inode = fixture_add_file(tree, "xattr/acl", 0670, 0);
  tree_inode_set_xattr(inode, "system.posix_acl_access", acl, sizeof acl);
  inode = fixture_add(tree, "xattr/acl-dir", S_IFDIR | 0770);
  tree_inode_set_xattr(inode, "system.posix_acl_default", acl, sizeof acl);
  inode = fixture_add_file(tree, "xattr/several", 0644, 5);
  tree_inode_set_xattr(inode, "user.empty", "", 0);
  tree_inode_set_xattr(inode, "user.binary", "\0\xff\n", 3);
  tree_inode_set_xattr(inode, "trusted.secret", "s", 1);
  tree_inode_set_xattr(inode, "security.selinux", "system_u:object_r:bin_t:s0", 26);
  tree_inode_set_xattr(inode, "trusted.overlayish", "no", 2);
}

Tree *
fixture_full(void)
{
  Tree *tree = tree_new();
  TreeInode *inode;

  tree_root(tree)->inode->mtime = 1234567890;
  fixture_add(tree, "dir", S_IFDIR | 0755);
  fixture_add(tree, "empty-dir", S_IFDIR | 01777);
  inode = fixture_add_file(tree, "dir/shadow", 0640, 1234);
  inode->gid = 42;
  inode->mtime = 1700000000;
  inode->mtime_nsec = 123456789;
  inode = fixture_add_file(tree, "dir/passwd", 04755, 68000);
  inode->uid = 0xfffffffe;
  inode->gid = 0x80000000;
  inode = fixture_add_file(tree, "dir/linked", 0644, 77);
  fixture_add(tree, "a-first", S_IFDIR | 02755);
  fixture_add(tree, "a-first/deeper", S_IFDIR | 0700);
  fixture_link(tree, "a-first/deeper/other", inode);
  fixture_link(tree, "a-first/zz", inode);
  inode = fixture_add_file(tree, "dir/old", 0600, 1);
  inode->mtime = -62135596800;
  inode->mtime_nsec = 999999999;
  inode = fixture_add_file(tree, "dir/future", 0, 1);
  inode->mtime = 253402300799;
  fixture_add_file(tree, "dir/empty", 0444, 0);
  fixture_add_file(tree, "dir/5g", 0644, G_GUINT64_CONSTANT(5) << 30);
  fixture_add_file(tree, "dir/9t", 0644, G_GUINT64_CONSTANT(9) << 40);
  fixture_add_symlink(tree, "dir/link", "../dir/shadow");
  inode = fixture_add_symlink(tree, "dir/link2", "nowhere");
  fixture_link(tree, "dir/link2b", inode);
  fixture_add(tree, "dir/fifo", S_IFIFO | 0622);
  fixture_add_device(tree, "dir/null", S_IFCHR | 0666, 1, 3);
  fixture_add_device(tree, "dir/big", S_IFCHR | 0600, 0xfff, 0xfffff);
  fixture_add_device(tree, "dir/sda", S_IFBLK | 0660, 8, 300);
  fixture_add(tree, "xattr", S_IFDIR | 0755);
  add_xattrs(tree);
  return tree;
}

void
fixture_add_overlay_xattrs(Tree *tree)
{
  TreeInode *inode;

  fixture_add(tree, "overlay", S_IFDIR | 0755);
  inode = fixture_add(tree, "overlay/opaque", S_IFDIR | 0755);
  tree_inode_set_xattr(inode, "trusted.overlay.opaque", "y", 1);
  tree_inode_set_xattr(inode, "user.overlay.opaque", "y", 1);
  inode = fixture_add_file(tree, "overlay/opaque/file", 0644, 6);
  tree_inode_set_xattr(inode, "trusted.overlay.redirect", "/dir/shadow", 11);
  tree_inode_set_xattr(inode, "trusted.overlay.overlay.redirect", "twice", 5);
  inode = fixture_add_file(tree, "overlay/empty", 0644, 0);
  tree_inode_set_xattr(inode, "trusted.overlay.whiteout", "", 0);
  tree_inode_set_xattr(inode, "trusted.overlay.metacopy", "", 0);
}

/* A directory with @count entries whose names are @size bytes long. */
static void
add_directory(Tree *tree, guint count, guint size)
{
  g_autofree char *dir = g_strdup_printf("d-%06u-%03u", count, size);

  fixture_add(tree, dir, S_IFDIR | 0755);
  for (guint i = 0; i < count; i++) {
    g_autofree char *path = g_strdup_printf("%s/%0*u", dir, (int)size, i);
    fixture_add(tree, path, S_IFIFO | 0644);
  }
}

Tree *
fixture_directories(void)
{
  Tree *tree = tree_new();
  /* "." and ".." take 27 bytes, an entry 12 and its name. */
  static const guint sizes[] = {3, 52, 100, 255};

  for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
    guint block = (4096 - 27) / (12 + sizes[i]), inlined = (4096 - 64 - 27) / (12 + sizes[i]);
    guint more = 4096 / (12 + sizes[i]);
    guint counts[] = {0,
                      1,
                      inlined - 1,
                      inlined,
                      inlined + 1,
                      block - 1,
                      block,
                      block + 1,
                      block + more - 1,
                      block + more,
                      block + more + 1,
                      block + 2 * more,
                      block + 2 * more + 1};

    for (guint j = 0; j < G_N_ELEMENTS(counts); j++) {
      g_autofree char *name = g_strdup_printf("d-%06u-%03u", counts[j], sizes[i]);
      if (tree_lookup_path(tree, name) == NULL)
        add_directory(tree, counts[j], sizes[i]);
    }
  }
  return tree;
}

static char *
repeat(char c, gsize count)
{
  char *text = g_malloc(count + 1);

  memset(text, c, count);
  text[count] = '\0';
  return text;
}

static void
add_names(Tree *tree)
{
  /* Some sort before "." and "..", one between them. */
  static const char *const names[] = {"!",        "-",    ".-",          "...",       ".a",
                                      "/",        "~",    "a b",         "new\nline", "\\back",
                                      "\xff\xfe", "\x01", "caf\xc3\xa9", "\xe9"};
  g_autofree char *longest = repeat('x', 255);
  g_autofree char *path = g_strconcat("names/", longest, NULL);

  fixture_add(tree, "names", S_IFDIR | 0755);
  for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
    g_autofree char *each = g_strconcat("names/", names[i], NULL);
    if (names[i][0] != '/')
      fixture_add_file(tree, each, 0644, i);
  }
  fixture_add(tree, path, S_IFDIR | 0755);
}

Tree *
fixture_sizes(void)
{
  static const guint targets[] = {1,    31,   32,   33,   2048, 4000, 4031,
                                  4032, 4033, 4034, 4064, 4094, 4095};
  static const guint values[] = {0, 1, 2, 3, 4, 255, 511, 512, 513, 4095, 4096, 4097, 65535};
  Tree *tree = tree_new();
  TreeInode *inode;

  add_names(tree);
  fixture_add(tree, "targets", S_IFDIR | 0755);
  for (guint i = 0; i < G_N_ELEMENTS(targets); i++)
    for (guint j = 0; j < 3; j++) {
      g_autofree char *path = g_strdup_printf("targets/%u-%u", targets[i], j);
      g_autofree char *target = repeat((char)('a' + j), targets[i]);
      inode = fixture_add_symlink(tree, path, target);
      if (j == 2)
        tree_inode_set_xattr(inode, "trusted.on-a-link", target, MIN(targets[i], 300));
    }
  fixture_add(tree, "values", S_IFDIR | 0755);
  for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
    g_autofree char *path = g_strdup_printf("values/%u", values[i]);
    g_autofree char *value = repeat('v', values[i]);
    inode = fixture_add_file(tree, path, 0644, 100);
    tree_inode_set_xattr(inode, "user.value", value, values[i]);
    tree_inode_set_xattr(inode, "user.other", path, strlen(path));
  }
  inode = fixture_add(tree, "values/many", S_IFDIR | 0755);
  for (guint i = 0; i < 400; i++) {
    g_autofree char *name = g_strdup_printf("user.number-%03u", i);
    g_autofree char *long_value = repeat('m', i % 3 == 0 ? 600 : 60);
    tree_inode_set_xattr(inode, name, long_value, strlen(long_value));
  }
  return tree;
}

Tree *
fixture_system(guint count)
{
  Tree *tree = tree_new();
  TreeNode *dir = NULL;

  for (guint i = 0; tree_count(tree) < count; i++) {
    g_autofree char *name = g_strdup_printf("package-%05u", i);
    g_autoptr(TreeInode) top = tree_inode_new(S_IFDIR | 0755);
    TreeNode *package = tree_insert(tree, tree_root(tree), name, top);

    for (guint j = 0; j < 40 && tree_count(tree) < count; j++) {
      g_autofree char *file = g_strdup_printf("some-file-%02u.suffix", j % 20);
      g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | (j % 5 == 0 ? 0755 : 0644));

      if (j % 20 == 0) {
        g_autofree char *sub = g_strdup_printf("directory-%u", j / 20);
        g_autoptr(TreeInode) sub_inode = tree_inode_new(S_IFDIR | 0755);
        dir = tree_insert(tree, package, sub, sub_inode);
      }
      inode->size = 1000 + j;
      inode->mtime = 1600000000 + i;
      tree_insert(tree, dir, file, inode);
    }
  }
  return tree;
}

static void
randomise(GRand *rand, TreeInode *inode)
{
  static const char *const names[] = {"user.a", "user.bb", "security.other", "trusted.t",
                                      "security.selinux"};

  inode->uid = g_rand_boolean(rand) ? 0 : g_rand_int(rand) / 2;
  inode->gid = g_rand_boolean(rand) ? 0 : g_rand_int(rand) / 2;
  inode->mtime = (gint64)g_rand_int(rand) - 1000000000;
  inode->mtime_nsec = (guint32)g_rand_int_range(rand, 0, 1000000000);
  if (g_rand_int_range(rand, 0, 4) > 0)
    return;
  for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
    guint8 value[700];
    gsize size = (gsize)g_rand_int_range(rand, 0, g_rand_boolean(rand) ? 20 : sizeof value);

    memset(value, g_rand_int_range(rand, 0, 3), sizeof value);
    if (g_rand_boolean(rand))
      tree_inode_set_xattr(inode, names[i], value, size);
  }
}

static TreeInode *
random_inode(GRand *rand)
{
  static const guint32 types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK,
                                  S_IFCHR, S_IFBLK, S_IFIFO, S_IFREG, S_IFDIR};
  guint32 type = types[g_rand_int_range(rand, 0, G_N_ELEMENTS(types))];
  TreeInode *inode = tree_inode_new(type | (guint32)g_rand_int_range(rand, 0, 010000));

  if (S_ISREG(type))
    inode->size = g_rand_boolean(rand) ? 0 : g_rand_int(rand);
  if (S_ISLNK(type)) {
    inode->target = repeat('t', (gsize)g_rand_int_range(rand, 1, g_rand_boolean(rand) ? 50 : 4095));
    inode->size = strlen(inode->target);
  }
  if (S_ISCHR(type) || S_ISBLK(type)) {
    inode->rdev_major = 1 + g_rand_int(rand) % 0xfff;
    inode->rdev_minor = g_rand_int(rand) % 0x100000;
  }
  randomise(rand, inode);
  return inode;
}

Tree *
fixture_random(guint32 seed)
{
  GRand *rand = g_rand_new_with_seed(seed);
  g_autoptr(GPtrArray) dirs = g_ptr_array_new();
  g_autoptr(GPtrArray) others = g_ptr_array_new();
  Tree *tree = tree_new();
  guint count = (guint)g_rand_int_range(rand, 1, 1500);

  g_ptr_array_add(dirs, tree_root(tree));
  for (guint i = 0; i < count; i++) {
    TreeNode *dir = g_ptr_array_index(dirs, (guint)g_rand_int_range(rand, 0, (gint32)dirs->len));
    g_autoptr(TreeInode) inode = NULL;
    g_autofree char *name = repeat((char)g_rand_int_range(rand, 33, 127),
                                   (gsize)g_rand_int_range(rand, 1, i % 20 == 0 ? 256 : 24));
    TreeNode *node;

    if (!tree_name_is_valid(name) || tree_lookup(dir, name) != NULL)
      continue;
    if (others->len > 0 && g_rand_int_range(rand, 0, 10) == 0)
      inode = tree_inode_ref(
          g_ptr_array_index(others, (guint)g_rand_int_range(rand, 0, (gint32)others->len)));
    else
      inode = random_inode(rand);
    node = tree_insert(tree, dir, name, inode);
    g_ptr_array_add(S_ISDIR(inode->mode) ? dirs : others,
                    S_ISDIR(inode->mode) ? (gpointer)node : inode);
  }
  g_rand_free(rand);
  return tree;
}

static void
make_file(int dir, const char *name, const TreeInode *inode)
{
  autofd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

  g_assert_cmpint(fd, >=, 0);
  g_assert_cmpint(ftruncate(fd, (off_t)inode->size), ==, 0);
  g_assert_cmpint(fchmod(fd, inode->mode & 0111 ? 0555 : 0444), ==, 0);
}

/* Makes @dir's entries in @fd and then goes into each directory; depth is the tests' own. */
static void
make_directory(TreeNode *dir, int fd, GHashTable *links)
{
  gsize count;
  TreeNode **children = tree_children(dir, &count);

  for (gsize i = 0; i < count; i++) {
    const char *name = children[i]->name;
    TreeInode *inode = children[i]->inode;

    if (S_ISDIR(inode->mode)) {
      g_assert_cmpint(mkdirat(fd, name, 0700), ==, 0);
      autofd int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      g_assert_cmpint(sub, >=, 0);
      make_directory(children[i], sub, links);
    } else if (inode->nlink > 1 && !g_hash_table_add(links, inode)) {
      continue;
    } else if (S_ISLNK(inode->mode)) {
      g_assert_cmpint(symlinkat(inode->target, fd, name), ==, 0);
    } else if (S_ISREG(inode->mode)) {
      make_file(fd, name, inode);
    }
  }
  g_assert_cmpint(fchmod(fd, 0555), ==, 0);
}

void
fixture_make_rootfs(Tree *tree, int fd)
{
  g_autoptr(GHashTable) links = g_hash_table_new(NULL, NULL);

  make_directory(tree_root(tree), fd, links);
}
