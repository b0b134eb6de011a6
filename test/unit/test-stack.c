/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layers of a mount. The linker wraps lgetxattr(), to count what is asked about marks of
 * whiteouts, and readdir(), to count what is read of directories.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "stack.h"
#include "util.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define REFERENCE                                                                                  \
  "{\"version\":1,\"storePath\":\"/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello\","            \
  "\"narHash\":\"sha256:1xfa6r5im7qkxyahlf1qjplx6mxhqyzmqsbzpypfs6hqcyyd3irv\","                   \
  "\"manifestDigest\":\"sha256:"                                                                   \
  "556f6a61bc6b860d8fc46452663bdef0a5f646b08d2dd56d9c14eef4646ee43d\"}"

static guint asked;

ssize_t __real_lgetxattr(const char *path, const char *name, void *value, size_t size);
ssize_t __wrap_lgetxattr(const char *path, const char *name, void *value, size_t size);

ssize_t
__wrap_lgetxattr(const char *path, const char *name, void *value, size_t size)
{
  asked += g_str_has_suffix(name, ".overlay.whiteout");
  return __real_lgetxattr(path, name, value, size);
}

static guint read_entries;

struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);

struct dirent *
__wrap_readdir(DIR *dir)
{
  read_entries++;
  return __real_readdir(dir);
}

static char *scratch; /* the working directory, a driver's home unless a test says otherwise */

static void
make(const char *directory)
{
  g_autofree char *path = g_build_filename(scratch, directory, NULL);

  g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
}

static void
put(const char *file, const char *text)
{
  g_autofree char *path = g_build_filename(scratch, file, NULL);

  g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void
make_layer(const char *id, const char *link)
{
  g_autofree char *diff = g_build_filename(id, "diff", NULL);
  g_autofree char *book = g_build_filename(id, "link", NULL);
  g_autofree char *path = g_build_filename(scratch, "l", link, NULL);
  g_autofree char *target = g_build_filename("..", id, "diff", NULL);

  make("l");
  make(diff);
  put(book, link);
  g_assert_cmpint(symlink(target, path), ==, 0);
}

static void
set_up(void)
{
  scratch = g_dir_make_tmp("nixstore-test-stack.XXXXXX", NULL);
  g_assert_nonnull(scratch);
  g_assert_cmpint(chdir(scratch), ==, 0);
  make_layer(ID_A, "LINKA");
  make_layer(ID_B, "LINKB");
  make(ID_B "/diff/.nixstore");
  put(ID_B "/diff/.nixstore/reference.json", REFERENCE);
}

static void
tear_down(void)
{
  g_assert_cmpint(chdir("/"), ==, 0);
  g_assert_true(util_remove_tree(AT_FDCWD, scratch, NULL));
  g_clear_pointer(&scratch, g_free);
}

static Stack *
open_stack(const char *a, const char *b, gboolean has_upper)
{
  const char *lowers[] = {a, b, NULL};
  g_autoptr(GError) error = NULL;
  Stack *stack = stack_open(lowers, has_upper, &error);

  g_assert_no_error(error);
  g_assert_cmpuint(stack->layers->len, ==, b ? 2 : 1);
  return stack;
}

static const StackLayer *
layer(const Stack *stack, guint i)
{
  return stack->layers->pdata[i];
}

static void
assert_is_reference(const char *path, gboolean expected)
{
  g_autoptr(Stack) stack = open_stack(path, NULL, TRUE);

  g_assert_cmpint(layer(stack, 0)->reference != NULL, ==, expected);
}

static void
test_layers(void)
{
  g_autofree char *absolute = g_build_filename(scratch, "l", "LINKA", NULL);
  g_autofree char *diff = g_build_filename(scratch, ID_A, "diff", NULL);
  g_autoptr(Stack) stack = open_stack(absolute, "l/LINKB", TRUE);

  g_assert_cmpstr(stack->home, ==, scratch);
  g_assert_cmpstr(layer(stack, 0)->path, ==, diff);
  g_assert_cmpstr(layer(stack, 0)->id, ==, ID_A);
  g_assert_cmpstr(layer(stack, 0)->home, ==, scratch);
  g_assert_true(layer(stack, 0)->is_own);
  g_assert_null(layer(stack, 0)->reference);
  g_assert_nonnull(layer(stack, 1)->reference);
}

static void
test_further_directories(void)
{
  make(ID_A "/diff1/.nixstore");
  put(ID_A "/diff1/.nixstore/reference.json", REFERENCE);
  make(ID_A "/empty");

  g_autoptr(Stack) stack = open_stack("l/LINKA/../diff1", ID_A "/empty", FALSE);
  g_assert_cmpstr(layer(stack, 0)->id, ==, ID_A);
  g_assert_null(layer(stack, 0)->reference);
  g_assert_null(layer(stack, 1)->home);
}

/* What lies in a home but is not in its books. */
static void
test_unbooked(void)
{
  assert_is_reference("l/LINKB", TRUE);
  g_assert_cmpint(unlink("l/LINKB"), ==, 0);
  assert_is_reference(ID_B "/diff", FALSE);
  g_assert_cmpint(symlink("../" ID_A "/diff", "l/LINKB"), ==, 0);
  assert_is_reference(ID_B "/diff", FALSE);
  put(ID_B "/link", "../l/LINKB");
  assert_is_reference(ID_B "/diff", FALSE);
  put(ID_B "/link", "");
  assert_is_reference(ID_B "/diff", FALSE);
}

static void
test_homes(void)
{
  g_autofree char *outside = g_build_filename(scratch, ID_B, "diff", NULL);

  /* Called from elsewhere, the layer is a home's, but not our own. */
  g_assert_cmpint(chdir("/"), ==, 0);
  g_autoptr(Stack) stack = open_stack(outside, NULL, TRUE);
  g_assert_null(stack->home);
  g_assert_cmpstr(layer(stack, 0)->home, ==, scratch);
  g_assert_false(layer(stack, 0)->is_own);
  g_assert_null(layer(stack, 0)->reference);

  /* A home that others write to is none. */
  g_assert_cmpint(chdir(scratch), ==, 0);
  g_assert_cmpint(chmod(scratch, 0777), ==, 0);
  assert_is_reference("l/LINKB", FALSE);
  g_assert_cmpint(chmod(scratch, 0700), ==, 0);
  assert_is_reference("l/LINKB", TRUE);
  if (geteuid() == 0) {
    g_assert_cmpint(chown(scratch, 1, 1), ==, 0);
    assert_is_reference("l/LINKB", FALSE);
  }
}

static void
test_no_reference(void)
{
  g_assert_cmpint(rename(ID_B "/diff/.nixstore/reference.json", ID_A "/elsewhere"), ==, 0);
  assert_is_reference("l/LINKB", FALSE);
  g_assert_cmpint(symlink("../../../" ID_A "/elsewhere", ID_B "/diff/.nixstore/reference.json"), ==,
                  0);
  assert_is_reference("l/LINKB", FALSE);
}

static void
test_mutable(void)
{
  make(ID_A "/work/work");
  for (guint i = 0; i < 2; i++) {
    g_autoptr(Stack) stack = open_stack("l/LINKA", "l/LINKB", i);
    /* Only the topmost of a read-only mount can be somebody's upper. */
    g_assert_cmpint(layer(stack, 0)->is_mutable, ==, !i);
    g_assert_false(layer(stack, 1)->is_mutable);
  }
  g_autoptr(Stack) below = open_stack("l/LINKB", "l/LINKA", FALSE);
  g_assert_false(layer(below, 0)->is_mutable);
  g_assert_false(layer(below, 1)->is_mutable);
}

static void
test_look(void)
{
  g_autoptr(GError) error = NULL;
  gboolean found = TRUE;
  g_autoptr(Stack) stack = open_stack("l/LINKA", NULL, TRUE);

  g_assert_true(stack_layer_is_empty(layer(stack, 0), &found, &error));
  g_assert_true(found);
  make(ID_A "/diff/a/b/c");
  put(ID_A "/diff/a/b/.whx", "");
  for (guint i = 0; i < 20; i++) {
    g_autofree char *name = g_strdup_printf(ID_A "/diff/file%u", i);
    put(name, "");
  }
  read_entries = 0;
  g_assert_true(stack_layer_is_empty(layer(stack, 0), &found, &error));
  g_assert_false(found);
  g_assert_cmpuint(read_entries, <=, 3);
  g_assert_true(stack_layer_find_whiteouts(layer(stack, 0), &found, &error));
  g_assert_false(found);
  put(ID_A "/diff/a/b/c/.wh.x", "");
  g_assert_true(stack_layer_find_whiteouts(layer(stack, 0), &found, &error));
  g_assert_true(found);
}

static void
test_merge(void)
{
  g_autoptr(GError) error = NULL;

  make(ID_B "/diff/dir/gone");
  put(ID_B "/diff/dir/gone/x", "x");
  put(ID_B "/diff/dir/kept", "kept");
  put(ID_B "/diff/file", "below");
  put(ID_B "/diff/dir/gone-too", "");
  make(ID_A "/diff/dir");
  put(ID_A "/diff/dir/.wh.gone", "");
  put(ID_A "/diff/dir/.wh.gone-too", "");
  put(ID_A "/diff/dir/.wh.never", "");
  put(ID_A "/diff/dir/empty", "");
  put(ID_A "/diff/file", "above");
  g_assert_cmpint(rename(ID_B "/diff/.nixstore", ID_B "/not-a-reference"), ==, 0);

  g_autoptr(Stack) stack = open_stack("l/LINKA", "l/LINKB", TRUE);
  g_autoptr(Tree) tree = stack_merge(stack, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(tree_count(tree), ==, 5);
  g_assert_null(tree_lookup_path(tree, "dir/gone"));
  g_assert_cmpuint(asked, ==, 2); /* once about each file that is empty and not called .wh. */
  const TreeInode *kept = tree_lookup_path(tree, "dir/kept")->inode;
  g_assert_cmpuint(kept->content_layer, ==, 1);
  g_assert_cmpstr(kept->content_path, ==, "dir/kept");
  const TreeInode *file = tree_lookup_path(tree, "file")->inode;
  g_assert_cmpuint(file->content_layer, ==, 0);
  g_assert_cmpuint(file->size, ==, 5);
}

static void
test_refused(void)
{
  g_autoptr(GError) error = NULL;
  const char *missing[] = {"l/LINKA", "l/NOWHERE", NULL};
  g_assert_null(stack_open(missing, TRUE, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_NOT_FOUND);
  g_clear_error(&error);

  const char *broken[] = {"l/LINKB", NULL};
  put(ID_B "/diff/.nixstore/reference.json", "{}");
  g_assert_null(stack_open(broken, TRUE, &error));
  g_assert_nonnull(strstr(error->message, ID_B));
  g_clear_error(&error);

  g_autoptr(Stack) stack = open_stack(ID_A, "l/LINKA", TRUE);
  g_assert_null(stack_merge(stack, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED);
}

static void
run(gconstpointer data)
{
  set_up();
  ((void (*)(void))data)();
  tear_down();
}

int
main(int argc, char **argv)
{
  static const struct {
    const char *name;
    void (*function)(void);
  } tests[] = {
      {"/stack/layers", test_layers},
      {"/stack/further-directories", test_further_directories},
      {"/stack/unbooked", test_unbooked},
      {"/stack/homes", test_homes},
      {"/stack/no-reference", test_no_reference},
      {"/stack/mutable", test_mutable},
      {"/stack/look", test_look},
      {"/stack/merge", test_merge},
      {"/stack/refused", test_refused},
  };

  g_test_init(&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
    g_test_add_data_func(tests[i].name, (gconstpointer)tests[i].function, run);
  return g_test_run();
}
