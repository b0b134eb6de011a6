/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * make-should-fail DIRECTORY: writes the should-fail corpus of indexes, should-fail-NAME.erofs
 * each, and the index that they were made from, good.erofs.
 */
#include "config.h"

#include <stdio.h>

#include "index-mutations.h"

static int
save(const char *directory, const char *name, GByteArray *image)
{
  g_autofree char *path = g_build_filename(directory, name, NULL);
  g_autoptr(GError) error = NULL;

  if (g_file_set_contents(path, (const char *)image->data, image->len, &error))
    return 0;
  fprintf(stderr, "make-should-fail: %s\n", error->message);
  return 1;
}

int
main(int argc, char **argv)
{
  g_autoptr(GByteArray) good = index_mutation_good();
  int failed;

  if (argc != 2) {
    fprintf(stderr, "usage: make-should-fail DIRECTORY\n");
    return 1;
  }
  failed = save(argv[1], "good.erofs", good);
  for (guint i = 0; i < index_mutation_count() && !failed; i++) {
    g_autofree char *name = g_strdup_printf("should-fail-%s.erofs", index_mutation_name(i));
    g_autoptr(GByteArray) image = index_mutation_make(i);

    g_strdelimit(name, "_", '-');
    failed = save(argv[1], name, image);
  }
  return failed;
}
