/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What of util and idmap no program can be brought to from outside. openat() is wrapped by the
 * linker, so that somebody can do something at a certain moment.
 */
#include "config.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "idmap.h"
#include "util.h"

static const char *move_from, *move_to; /* when the way goes up for the first time */

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);

int
__wrap_openat(int fd, const char *path, int flags, ...)
{
  va_list args;
  va_start(args, flags);
  mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
  va_end(args);
  if (move_from && strcmp(path, "..") == 0) {
    g_assert_cmpint(rename(move_from, move_to), ==, 0);
    move_from = NULL;
  }
  return __real_openat(fd, path, flags, mode);
}

static char *
make_file(const char *directory, const char *name)
{
  char *path = g_build_filename(directory, name, NULL);
  g_autofree char *parent = g_path_get_dirname(path);
  g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
  g_assert_true(g_file_set_contents(path, "x", 1, NULL));
  return path;
}

/* Somebody moves the directory that is just emptied: ".." leads elsewhere then. */
static void
test_remove_moved(void)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *top = g_dir_make_tmp("test-util.XXXXXX", NULL);
  g_free(make_file(top, "tree/a/b/file"));
  g_autofree char *precious = make_file(top, "else/precious");
  g_autofree char *tree = g_build_filename(top, "tree", NULL);
  g_autofree char *from = g_build_filename(tree, "a", "b", NULL);
  g_autofree char *to = g_build_filename(top, "else", "b", NULL);

  move_from = from;
  move_to = to;
  g_assert_false(util_remove_tree(AT_FDCWD, tree, &error));
  g_assert_null(move_from);
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_FAILED);
  g_assert_nonnull(strstr(error->message, "it was moved meanwhile"));
  g_assert_cmpint(g_access(precious, F_OK), ==, 0);
  g_assert_cmpint(g_access(to, F_OK), ==, 0);
  g_assert_true(util_remove_tree(AT_FDCWD, top, NULL));
}

/* Why a file cannot be removed is said, not that it is no directory. */
static void
test_remove_denied(void)
{
  static const char *const paths[] = {"/proc/self/status", "/proc/self/attr"};

  for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_false(util_remove_tree(AT_FDCWD, paths[i], &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, g_strerror(EPERM)));
  }
}

/* The kernel takes a mapping in one write of less than a page. */
static void
test_long_mapping(void)
{
  g_autoptr(GError) error = NULL, other = NULL;
  g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(IdRange));
  g_autoptr(GArray) twice = g_array_new(FALSE, FALSE, sizeof(IdRange));

  for (guint32 i = 0; i < 300; i++) {
    IdRange range = {4000000000 + i, 4100000000 + i, 1};
    g_array_append_val(ranges, range);
    if (i == 0)
      g_array_append_vals(twice, (IdRange[]){range, range}, 2);
  }
  g_assert_cmpint(idmap_open_userns(ranges, ranges, &error), ==, -1);
  g_assert_nonnull(error);
  g_assert_nonnull(strstr(error->message, "the 300 ranges of the id mapping take 7200 bytes"));
  g_assert_nonnull(strstr(error->message, "less than a page"));
  /* What the kernel refuses for another reason is not told so. */
  g_assert_cmpint(idmap_open_userns(twice, twice, &other), ==, -1);
  g_assert_nonnull(other);
  g_assert_null(strstr(other->message, "page"));
}

static GArray *
ranges_of(const IdRange *ranges, guint count)
{
  return g_array_append_vals(g_array_new(FALSE, FALSE, sizeof(IdRange)), ranges, count);
}

/* A user's namespace has its own id and the subordinate ones in two ranges; a range across them is
 * the kernel's to refuse, unless it is told of it in two. */
static void
test_mapping_across(void)
{
  g_autoptr(GArray) own = ranges_of((IdRange[]){{0, 70000, 1}, {1, 80000, 1999}}, 2);
  g_autoptr(GArray) across = ranges_of(&(IdRange){5, 0, 1000}, 1);
  autofd int userns_fd = idmap_open_userns(own, own, NULL);
  int status;

  if (userns_fd < 0) {
    g_test_skip("no user namespace can be made here");
    return;
  }
  pid_t child = fork();
  g_assert_cmpint(child, >=, 0);
  if (child == 0) {
    g_autoptr(GError) error = NULL;
    if (setns(userns_fd, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
      g_error("enter the user namespace: %s", g_strerror(errno));
    prctl(PR_SET_DUMPABLE, 1); /* as exec() would, so that /proc has us and our children */
    if (idmap_open_userns(across, across, &error) < 0)
      g_error("%s", error->message);
    _exit(0);
  }
  g_assert_cmpint(waitpid(child, &status, 0), ==, child);
  g_assert_cmpint(status, ==, 0);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/util/remove-moved", test_remove_moved);
  g_test_add_func("/util/remove-denied", test_remove_denied);
  g_test_add_func("/idmap/long", test_long_mapping);
  g_test_add_func("/idmap/across", test_mapping_across);
  return g_test_run();
}
