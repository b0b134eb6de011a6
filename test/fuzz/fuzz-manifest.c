/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuzz.h"
#include "manifest.h"

#include <string.h>

#define TOP "#mtree v2.0\n/set type=file uid=0 gid=0 mode=0644\n"

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED(TOP ". type=dir mode=0755 time=0.000000000\n"
                  "/set time=7.000000000\n"
                  "./a\\040\\134 type=dir uid=1 mode=1777\n"
                  "./a\\040\\134/f\n"
                  "./a\\040\\134/g hardlink=./a\\040\\134/f\n"
                  "./b type=char mode=0600 time=-3.500000000 device=native,4095,1048575\n"
                  "./c mode=4755 time=1.000000001 xattr.security.capability=AQAAAgAgAAA=\n"
                  "./d type=link mode=0777\n"),
    FUZZ_SEED(TOP ". type=dir time=0.000000000\n./a/b time=0.000000000\n./../c\n"),
    FUZZ_SEED(
        "#\n/set type=fifo gid=4294967294 time=1.000000000 uid=0 mode=0\n. type=dir size=3\n"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

/* What is accepted is written as what is read again as the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = manifest_parse((const char *)data, size, &error);

  g_assert((tree == NULL) == (error != NULL));
  if (tree == NULL)
    return 0;
  GString *text = manifest_write(tree, NULL);
  g_autoptr(Tree) again = manifest_parse(text->str, text->len, &error);
  g_assert_no_error(error);
  GString *text_again = manifest_write(again, NULL);
  g_assert(g_string_equal(text, text_again));
  g_string_free(text, TRUE);
  g_string_free(text_again, TRUE);
  return 0;
}
