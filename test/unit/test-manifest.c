/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest.h"
#include "util.h"

#include <string.h>

#define TOP "#mtree v2.0\n/set type=file uid=0 gid=0 mode=0644\n"
#define ROOT ". type=dir mode=0755 time=0.000000000\n"

static TreeNode *
add(Tree *tree, const char *dir, const char *name, guint32 mode, gint64 mtime)
{
  g_autoptr(TreeInode) inode = tree_inode_new(mode);

  inode->mtime = mtime;
  return tree_insert(tree, tree_lookup_path(tree, dir), name, inode);
}

static void
test_write(void)
{
  static const guint8 capability[] = {1, 0, 0, 2, 0, 0x20, 0, 0};
  static const char expected[] =
      TOP ". type=dir mode=0755 time=0.000000000\n"
          "/set time=7.000000000\n"
          "./a\\040\\134\\043\\075\\052\\077\\133\\135\\012\\377 type=dir uid=1 mode=1777\n"
          "./a\\040\\134\\043\\075\\052\\077\\133\\135\\012\\377/f\n"
          "./a\\040\\134\\043\\075\\052\\077\\133\\135\\012\\377/g"
          " hardlink=./a\\040\\134\\043\\075\\052\\077\\133\\135\\012\\377/f\n"
          "./b type=char gid=4294967294 mode=0600 time=-3.500000000 device=native,4095,1048575\n"
          "./c mode=4755 time=1.000000001 xattr.security.capability=AQAAAgAgAAA="
          " xattr.user.a\\075b=\n"
          "./d type=link mode=0777\n";
  g_autoptr(Tree) tree = tree_new();
  TreeNode *node;

  /* Written in another order than the manifest's. */
  add(tree, "", "d", S_IFLNK | 0777, 7);
  add(tree, "", "a \\#=*?[]\n\377", S_IFDIR | 01777, 7)->inode->uid = 1;
  node = add(tree, "a \\#=*?[]\n\377", "g", S_IFREG | 0644, 7);
  tree_insert(tree, tree_lookup_path(tree, "a \\#=*?[]\n\377"), "f", node->inode);
  node = add(tree, "", "c", S_IFREG | 04755, 1);
  node->inode->mtime_nsec = 1;
  tree_inode_set_xattr(node->inode, "user.a=b", "", 0);
  tree_inode_set_xattr(node->inode, "security.capability", capability, sizeof capability);
  node = add(tree, "", "b", S_IFCHR | 0600, -3);
  node->inode->mtime_nsec = 500000000;
  node->inode->gid = 4294967294;
  node->inode->rdev_major = 4095;
  node->inode->rdev_minor = 1048575;

  GString *text = manifest_write(tree, NULL);
  g_assert_cmpstr(text->str, ==, expected);

  /* And back: the same tree gives the same bytes. */
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) again = manifest_parse(text->str, text->len, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(tree_count(again), ==, tree_count(tree));
  node = tree_lookup_path(again, "a \\#=*?[]\n\377/f");
  g_assert_nonnull(node);
  g_assert_cmpuint(node->inode->nlink, ==, 2);
  g_assert_true(node->inode == tree_lookup_path(again, "a \\#=*?[]\n\377/g")->inode);
  GString *text_again = manifest_write(again, NULL);
  g_assert_cmpstr(text_again->str, ==, expected);
  g_string_free(text_again, TRUE);
  g_string_free(text, TRUE);
}

/* What other tools add, comments and blank lines do no harm. */
static void
test_lenient(void)
{
  static const char text[] =
      "#mtree\n\n  # comment\n/set type=file uid=0 gid=0 mode=0644 time=1.000000000\n"
      ". type=dir nlink=3 size=10\n"
      "./a sha256digest=00 size=3 optional\n"
      "/set uid=7\n"
      "./b type=link link=a\\040b mode=0777\n";
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = manifest_parse(text, sizeof text - 1, &error);

  g_assert_no_error(error);
  g_assert_cmpuint(tree_count(tree), ==, 3);
  g_assert_cmpuint(tree_lookup_path(tree, "b")->inode->uid, ==, 7);
  g_assert_cmpuint(tree_lookup_path(tree, "b")->inode->mode, ==, S_IFLNK | 0777);
}

static const struct {
  const char *text;
  const char *message;
} refused[] = {
    {"", "no root"},
    {TOP, "no root"},
    {TOP "./a time=0.000000000\n", "line 3: an entry whose parent"},
    {TOP ". time=0.000000000\n", "line 3: a root that is no directory"},
    {TOP ROOT ROOT, "line 4: a second root"},
    {TOP ROOT "./a time=0.000000000", "line 4: cut off"},
    {TOP ROOT "./a\n", "line 4: an entry without time"},
    {ROOT, "line 1: an entry without type"},
    {TOP ROOT "./b time=0.000000000\n./a time=0.000000000\n", "line 5: an entry that is out of"},
    {TOP ROOT "./a time=0.000000000\n./a time=0.000000000\n", "line 5: an entry that is out of"},
    {TOP ROOT "./a time=0.000000000\n./a/b time=0.000000000\n", "line 5: an entry whose parent"},
    {TOP ROOT "./a/b time=0.000000000\n", "line 4: an entry whose parent"},
    {TOP ROOT "./.. time=0.000000000\n", "no name"},
    {TOP ROOT "./a/../b time=0.000000000\n", "no name"},
    {TOP ROOT "./a//b time=0.000000000\n", "no name"},
    {TOP ROOT "./a/ time=0.000000000\n", "no name"},
    {TOP ROOT "./a\\057.. time=0.000000000\n", "no name"},
    {TOP ROOT "a time=0.000000000\n", "does not start with"},
    {TOP ROOT "../a time=0.000000000\n", "does not start with"},
    {TOP ROOT "./a\\000 time=0.000000000\n", "malformed or overlong path"},
    {TOP ROOT "./a\\40 time=0.000000000\n", "malformed or overlong path"},
    {TOP ROOT "./a\\400 time=0.000000000\n", "malformed or overlong path"},
    {TOP ROOT "./a time=0\n", "malformed value"},
    {TOP ROOT "./a time=0.0000000000\n", "malformed value"},
    {TOP ROOT "./a time=99999999999999999999.000000000\n", "malformed value"},
    {TOP ROOT "./a mode=0844 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a mode=10000 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a uid=4294967295 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a uid=-1 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a uid=1 uid=2 time=0.000000000\n", "given twice"},
    {TOP ROOT "./a type=door time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a colour=red time=0.000000000\n", "unknown"},
    {TOP ROOT "./a type=char time=0.000000000\n", "a device without numbers"},
    {TOP ROOT "./a device=native,1,2 time=0.000000000\n", "device numbers of no device"},
    {TOP ROOT "./a type=char device=native,4096,2 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a type=char device=freebsd,1,2 time=0.000000000\n", "malformed value"},
    {TOP ROOT "./a hardlink=./b\n", "a hard link to what is not"},
    {TOP ROOT "./a hardlink=./a\n", "a hard link to what is not"},
    {TOP ROOT "./a hardlink=.\n", "a hard link to what is not"},
    {TOP ROOT "./a hardlink=./../x\n", "no name"},
    {TOP ROOT "./a time=0.000000000\n./b hardlink=./a mode=0600\n", "attributes of its own"},
    {TOP ROOT "./a xattr.user.x=A time=0.000000000\n", "malformed value of an xattr"},
    {TOP ROOT "./a xattr.user.x=AB== time=0.000000000\n", "malformed value of an xattr"},
    {TOP ROOT "./a xattr.user.x=A=== time=0.000000000\n", "malformed value of an xattr"},
    {TOP ROOT "./a xattr.user.x=A=BC time=0.000000000\n", "malformed value of an xattr"},
    {TOP ROOT "./a xattr.\\000=AA== time=0.000000000\n", "malformed name of an xattr"},
    {TOP ROOT "./a xattr.trusted.overlay.redirect=AA== time=0.000000000\n", "an xattr of overlayfs"},
    {TOP ROOT "./a xattr.u=AA== xattr.u=AA== time=0.000000000\n", "given twice"},
    {TOP "/set xattr.user.x=AA==\n", "cannot be set"},
    {TOP "/set hardlink=./a\n", "a hard link to what is not"},
    {TOP "/unset uid\n", "unknown directive"},
};

static void
test_refused(void)
{
  for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
    g_autoptr(GError) error = NULL;
    Tree *tree = manifest_parse(refused[i].text, strlen(refused[i].text), &error);

    g_assert_null(tree);
    g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, refused[i].message));
    g_assert_null(strchr(error->message, '\n'));
  }
}

/* The deepest path that fits PATH_MAX, and one beyond it. */
static void
test_deep(void)
{
  g_autoptr(Tree) tree = tree_new();
  TreeNode *node = tree_root(tree);
  g_autoptr(GError) error = NULL;

  for (int depth = 0; depth < 2048; depth++) {
    g_autoptr(TreeInode) inode = tree_inode_new(S_IFDIR | 0755);
    node = tree_insert(tree, node, "d", inode);
  }
  GString *text = manifest_write(tree, NULL);
  g_autoptr(Tree) again = manifest_parse(text->str, text->len, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(tree_count(again), ==, 2049);
  g_string_free(text, TRUE);

  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);
  tree_insert(tree, node, "f", inode);
  text = manifest_write(tree, NULL);
  g_assert_null(manifest_parse(text->str, text->len, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  g_string_free(text, TRUE);
}

/* Every prefix of a good manifest, and every single flipped bit, is refused or parsed: never a
 * crash (the sanitizers look on). */
static void
test_mangled(void)
{
  static const char good[] = TOP ROOT "./a uid=3 time=5.000000000 xattr.user.x=AAECAw==\n"
                                      "./b type=char device=native,1,3 time=-5.000000000\n"
                                      "./c\\040 hardlink=./a\n";
  char text[sizeof good];

  for (gsize size = 0; size < sizeof good; size++) {
    g_autoptr(GError) error = NULL;
    g_autofree char *copy = g_memdup2(good, size);
    g_autoptr(Tree) tree = manifest_parse(copy, size, &error);
    g_assert_true((tree == NULL) == (error != NULL));
  }
  for (gsize bit = 0; bit < (sizeof good - 1) * 8; bit++) {
    g_autoptr(GError) error = NULL;
    memcpy(text, good, sizeof good);
    text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
    g_autoptr(Tree) tree = manifest_parse(text, sizeof good - 1, &error);
    g_assert_true((tree == NULL) == (error != NULL));
  }
}

/* 100,000 entries. The time is printed for a person; the bound is loose enough for a sanitizer. */
static void
test_large(void)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(GError) error = NULL;
  gint64 start;

  for (int i = 0; i < 1000; i++) {
    g_autofree char *name = g_strdup_printf("directory-%04d", i);
    add(tree, "", name, S_IFDIR | 0755, i);
    for (int j = 0; j < 100; j++) {
      g_autofree char *file = g_strdup_printf("file-%d", j);
      add(tree, name, file, S_IFREG | (j % 3 ? 0644 : 0755), i)->inode->uid = (guint32)(j % 5);
    }
  }
  start = g_get_monotonic_time();
  GString *text = manifest_write(tree, NULL);
  g_test_message("written in %" G_GINT64_FORMAT " us, %" G_GSIZE_FORMAT " bytes",
                 g_get_monotonic_time() - start, text->len);
  start = g_get_monotonic_time();
  g_autoptr(Tree) again = manifest_parse(text->str, text->len, &error);
  g_assert_no_error(error);
  g_test_message("parsed in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - start);
  g_assert_cmpuint(tree_count(again), ==, 101001);
  g_assert_cmpint(g_get_monotonic_time() - start, <, 2 * G_USEC_PER_SEC);
  g_string_free(text, TRUE);
}

/* A manifest of @entries files, each with as many xattrs of @name_size bytes as fit into @names
 * bytes, the last name first. */
static GString *
make_xattrs(guint entries, guint name_size, guint names)
{
  GString *text = g_string_new(TOP ROOT);

  for (guint i = 0; i < entries; i++) {
    g_string_append_printf(text, "./f%04u time=0.000000000", i);
    for (guint n = names / (name_size + 1); n-- > 0;)
      g_string_append_printf(text, " xattr.u%0*u=AA==", (int)name_size - 1, n);
    g_string_append_c(text, '\n');
  }
  return text;
}

/* As many names as the kernel lists of a file, and one more. */
static void
test_many_xattrs(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GString) most = make_xattrs(30, 7, 65536), more = make_xattrs(1, 7, 65544);
  gint64 start = g_get_monotonic_time();
  g_autoptr(Tree) tree = manifest_parse(most->str, most->len, &error);

  g_assert_no_error(error);
  g_test_message("parsed in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - start);
  g_assert_cmpint(g_get_monotonic_time() - start, <, 3 * G_USEC_PER_SEC);
  const GArray *xattrs = tree_lookup_path(tree, "f0029")->inode->xattrs;
  g_assert_cmpuint(xattrs->len, ==, 65536 / 8);
  g_assert_cmpstr(g_array_index(xattrs, TreeXattr, 0).name, ==, "u000000");
  g_assert_cmpstr(g_array_index(xattrs, TreeXattr, 8191).name, ==, "u008191");
  g_assert_null(manifest_parse(more->str, more->len, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, "line 4: more names of xattrs than"));
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/manifest/write", test_write);
  g_test_add_func("/manifest/lenient", test_lenient);
  g_test_add_func("/manifest/refused", test_refused);
  g_test_add_func("/manifest/deep", test_deep);
  g_test_add_func("/manifest/mangled", test_mangled);
  g_test_add_func("/manifest/large", test_large);
  g_test_add_func("/manifest/many-xattrs", test_many_xattrs);
  return g_test_run();
}
