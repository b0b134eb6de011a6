/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * bench-index [COUNT [RUNS]]: compiles the index of a tree of COUNT entries (100,000) that it makes
 * under TMPDIR, RUNS times (7), each time beside `find -printf` on the same files. Prints the
 * medians in seconds, one name and number a line.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "../unit/tree-fixture.h"
#include "index.h"
#include "manifest.h"
#include "rootfs.h"
#include "util.h"

enum { FIND, PARSE, BIND, WRITE, TOTAL, BEYOND, N_PHASES };
static const char *const phases[] = {"find", "parse", "bind", "write", "total", "beyond-find"};

typedef struct {
  char *directory;
  char *find; /* command line */
  int rootfs_fd;
  GString *manifest;
} Bench;

static double
seconds(void)
{
  return (double)g_get_monotonic_time() / G_USEC_PER_SEC;
}

static void
run_once(const Bench *bench, double *times)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = NULL;
  g_autofree char *path = g_build_filename(bench->directory, "index", NULL);
  autofd int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  double start = seconds();

  if (system(bench->find) != 0)
    g_error("find failed");
  times[FIND] = seconds() - start;

  start = seconds();
  tree = manifest_parse(bench->manifest->str, bench->manifest->len, &error);
  g_assert_no_error(error);
  times[PARSE] = seconds() - start;
  start = seconds();
  if (!rootfs_bind_tree(tree, bench->rootfs_fd, &error))
    g_error("%s", error->message);
  times[BIND] = seconds() - start;
  start = seconds();
  if (!index_write(tree, fd, NULL, 0, &error))
    g_error("%s", error->message);
  times[WRITE] = seconds() - start;
  times[TOTAL] = times[PARSE] + times[BIND] + times[WRITE];
  times[BEYOND] = times[TOTAL] - times[FIND];
}

static void
set_up(Bench *bench, guint count)
{
  g_autoptr(Tree) tree = fixture_system(count);
  g_autofree char *rootfs = NULL;

  bench->directory = g_dir_make_tmp("nixstore-bench-index.XXXXXX", NULL);
  rootfs = g_build_filename(bench->directory, "rootfs", NULL);
  g_assert_cmpint(mkdir(rootfs, 0755), ==, 0);
  bench->rootfs_fd = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fixture_make_rootfs(tree, bench->rootfs_fd);
  bench->manifest = manifest_write(tree, NULL);
  bench->find =
      g_strdup_printf("find '%s' -printf '%%U %%G %%m %%s %%T@ %%p\\n' >/dev/null", rootfs);
}

static int
compare_doubles(const void *a, const void *b)
{
  const double *left = a, *right = b;

  return *left < *right ? -1 : *left > *right;
}

int
main(int argc, char **argv)
{
  guint count = argc > 1 ? (guint)atoi(argv[1]) : 100000,
        runs = argc > 2 ? (guint)atoi(argv[2]) : 7;
  g_autofree double *times = g_new0(double, N_PHASES *(gsize)runs);
  Bench bench;

  set_up(&bench, count);
  for (guint run = 0; run < runs; run++) {
    double each[N_PHASES];

    run_once(&bench, each);
    for (guint i = 0; i < N_PHASES; i++)
      times[i * runs + run] = each[i];
  }
  for (guint i = 0; i < N_PHASES; i++) {
    qsort(times + i * runs, runs, sizeof *times, compare_doubles);
    printf("%s %.4f\n", phases[i], times[i * runs + runs / 2]);
  }
  close(bench.rootfs_fd);
  return util_remove_tree(AT_FDCWD, bench.directory, NULL) ? 0 : 1;
}
