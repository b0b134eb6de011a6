/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * fuse/data: what a hostile index names is not opened, and a cached descriptor is the right one.
 */
#include "config.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "data.h"
#include "util.h"

typedef struct {
  char *directory, *second;
  Data *data;
  Index *index;
} Fixture;

static void
put(const char *directory, const char *name, const char *text)
{
  g_autofree char *path = g_build_filename(directory, name, NULL);
  g_autoptr(GError) error = NULL;

  g_file_set_contents(path, text, -1, &error);
  g_assert_no_error(error);
}

static void
add(Tree *tree, const char *name, const char *content_path, guint64 size)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);

  inode->size = size;
  inode->content_path = g_strdup(content_path);
  tree_insert(tree, tree_root(tree), name, inode);
}

static void
make_directories(Fixture *fixture)
{
  g_autofree char *sub = NULL, *link = NULL, *link2 = NULL, *fifo = NULL, *device = NULL;

  fixture->directory = g_dir_make_tmp("nixstore-test-data.XXXXXX", NULL);
  fixture->second = g_dir_make_tmp("nixstore-test-data.XXXXXX", NULL);
  sub = g_build_filename(fixture->directory, "sub", NULL);
  g_assert_cmpint(mkdir(sub, 0755), ==, 0);
  put(fixture->directory, "sub/file", "content");
  put(fixture->directory, "both", "first--");
  put(fixture->second, "both", "second-");
  put(fixture->second, "only", "second-");
  link = g_build_filename(fixture->directory, "link", NULL);
  g_assert_cmpint(symlink("sub/file", link), ==, 0);
  link2 = g_build_filename(fixture->directory, "out", NULL);
  g_assert_cmpint(symlink("/etc", link2), ==, 0);
  fifo = g_build_filename(fixture->directory, "fifo", NULL);
  g_assert_cmpint(mkfifo(fifo, 0666), ==, 0);
  device = g_build_filename(fixture->directory, "zero", NULL);
  if (mknod(device, S_IFCHR | 0666, makedev(1, 5)) < 0)
    g_test_message("no device without root");
}

static void
set_up(Fixture *fixture, gconstpointer unused)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(GError) error = NULL;
  autofd int fd = memfd_create("index", MFD_CLOEXEC);

  make_directories(fixture);
  add(tree, "good", "sub/file", 7);
  add(tree, "again", "sub/file", 7);
  add(tree, "both", "both", 7);
  add(tree, "only", "only", 7);
  add(tree, "missing", "sub/none", 7);
  add(tree, "through-file", "sub/file/x", 7);
  add(tree, "short", "sub/file", 8);
  add(tree, "long", "sub/file", 6);
  add(tree, "directory", "sub", 7);
  add(tree, "link", "link", 7);
  add(tree, "through-link", "out/passwd", 7);
  add(tree, "dots", "../../../../../../etc/passwd", 7);
  add(tree, "dots-within", "sub/../sub/file", 7);
  add(tree, "absolute", "/etc/passwd", 7);
  add(tree, "fifo", "fifo", 7);
  add(tree, "device", "zero", 7);
  add(tree, "empty", NULL, 0);
  g_assert_true(index_write(tree, fd, NULL, 0, &error));
  g_assert_no_error(error);
  fixture->index = index_open(fd, &error);
  g_assert_no_error(error);
  const char *paths[] = {fixture->directory, fixture->second, NULL};
  fixture->data = data_open(paths, &error);
  g_assert_no_error(error);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
  data_close(fixture->data);
  index_close(fixture->index);
  util_remove_tree(AT_FDCWD, fixture->directory, NULL);
  util_remove_tree(AT_FDCWD, fixture->second, NULL);
  g_free(fixture->directory);
  g_free(fixture->second);
}

/* The error, or 0 with the content compared. */
static int
borrow(Fixture *fixture, const char *name, const char *want)
{
  char buffer[16] = {0};
  DataLoan loan;
  IndexStat st;
  guint64 nid;

  g_assert_cmpint(
      index_lookup(fixture->index, index_root_nid(fixture->index), name, strlen(name), &nid), ==,
      0);
  g_assert_cmpint(index_stat(fixture->index, nid, &st), ==, 0);
  int error = data_borrow(fixture->data, fixture->index, nid, st.size, &loan);
  if (error == 0) {
    g_assert_cmpint(pread(loan.fd, buffer, sizeof buffer, 0), ==, 7);
    g_assert_cmpstr(buffer, ==, want);
    data_return(&loan);
  }
  return error;
}

static void
test_borrow(Fixture *fixture, gconstpointer unused)
{
  for (int i = 0; i < 3; i++) {
    g_assert_cmpint(borrow(fixture, "good", "content"), ==, 0);
    g_assert_cmpint(borrow(fixture, "again", "content"), ==, 0);
    g_assert_cmpint(borrow(fixture, "both", "first--"), ==, 0);
    g_assert_cmpint(borrow(fixture, "only", "second-"), ==, 0);
    g_assert_cmpint(borrow(fixture, "dots-within", "content"), ==, 0);
  }
  g_assert_cmpint(borrow(fixture, "empty", NULL), ==, -ENODATA);
}

static void
test_hostile(Fixture *fixture, gconstpointer unused)
{
  const char *names[] = {"missing",      "through-file", "short",    "long", "directory", "link",
                         "through-link", "dots",         "absolute", "fifo", "device"};

  for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
    g_test_message("%s", names[i]);
    g_assert_cmpint(borrow(fixture, names[i], NULL), ==, -EIO);
  }
}

/* Two thousand files through the cache, eight threads, descriptors not leaked. */
typedef struct {
  Fixture *fixture;
  Index *index;
} Crowd;

static gpointer
crowd_run(gpointer data)
{
  Crowd *crowd = data;
  GRand *rand = g_rand_new_with_seed(GPOINTER_TO_UINT(g_thread_self()));

  for (int i = 0; i < 5000; i++) {
    char name[16], buffer[16] = {0}, want[16];
    DataLoan loan;
    guint64 nid;
    g_snprintf(name, sizeof name, "f%04d", g_rand_int_range(rand, 0, 2000));
    g_snprintf(want, sizeof want, "%-8s", name);
    g_assert_cmpint(
        index_lookup(crowd->index, index_root_nid(crowd->index), name, strlen(name), &nid), ==, 0);
    g_assert_cmpint(data_borrow(crowd->fixture->data, crowd->index, nid, 8, &loan), ==, 0);
    g_assert_cmpint(pread(loan.fd, buffer, 8, 0), ==, 8);
    g_assert_cmpstr(buffer, ==, want);
    data_return(&loan);
  }
  g_rand_free(rand);
  return NULL;
}

static void
test_crowd(Fixture *fixture, gconstpointer unused)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(GError) error = NULL;
  autofd int fd = memfd_create("index", MFD_CLOEXEC);
  GThread *threads[8];

  for (int i = 0; i < 2000; i++) {
    char name[16], text[16];
    g_snprintf(name, sizeof name, "f%04d", i);
    g_snprintf(text, sizeof text, "%-8s", name);
    put(fixture->second, name, text);
    add(tree, name, name, 8);
  }
  g_assert_true(index_write(tree, fd, NULL, 0, &error));
  g_autoptr(Index) index = index_open(fd, &error);
  g_assert_no_error(error);
  Crowd crowd = {.fixture = fixture, .index = index};
  for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
    threads[i] = g_thread_new("crowd", crowd_run, &crowd);
  for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
    g_thread_join(threads[i]);
  autofd int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
  g_assert_cmpint(next, <, 300);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add("/fuse-data/borrow", Fixture, NULL, set_up, test_borrow, tear_down);
  g_test_add("/fuse-data/hostile", Fixture, NULL, set_up, test_hostile, tear_down);
  g_test_add("/fuse-data/crowd", Fixture, NULL, set_up, test_crowd, tear_down);
  return g_test_run();
}
