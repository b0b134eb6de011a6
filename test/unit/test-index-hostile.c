/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reader and indexes that nobody well-meaning wrote. Worth most under AddressSanitizer
 * (configure --enable-sanitizers).
 */
#include "config.h"

#include <string.h>

#include "../fuzz/index-exercise.h"
#include "../fuzz/index-mutations.h"
#include "index.h"

/* Changed bytes an image, and images, of the random run: a few seconds with sanitizers. */
#define MAX_CHANGES 8
#define N_IMAGES 2000

static void
test_good(void)
{
  g_autoptr(GByteArray) image = index_mutation_good();
  ExerciseResult result = index_exercise(image->data, image->len);

  g_assert_true(result.opened);
  g_assert_cmpuint(result.inodes, >, 25);
  g_assert_cmpuint(result.corrupt, ==, 0);
}

static void
test_should_fail(void)
{
  for (guint i = 0; i < index_mutation_count(); i++) {
    g_autoptr(GByteArray) image = index_mutation_make(i);
    ExerciseResult result = index_exercise(image->data, image->len);

    if (result.opened && result.corrupt == 0)
      g_error("%s was not noticed", index_mutation_name(i));
    if (g_str_has_prefix(index_mutation_name(i), "super_") &&
        strcmp(index_mutation_name(i), "super_xattrs_beyond") != 0)
      g_assert_false(result.opened);
  }
}

/* A wrong checksum alone. */
static void
test_checksum(void)
{
  g_autoptr(GByteArray) image = index_mutation_good();

  image->data[2000] ^= 1;
  g_assert_false(index_exercise(image->data, image->len).opened);
}

static void
test_loop(void)
{
  g_autoptr(GByteArray) image = index_mutation_loop();
  ExerciseResult result = index_exercise(image->data, image->len);

  g_assert_true(result.opened);
  g_assert_cmpuint(result.corrupt, ==, 0);
  g_assert_cmpuint(result.inodes, >, 100); /* round and round, until the caller stops */
}

static void
test_random(void)
{
  static const guint8 favourites[] = {0, 1, 0x7f, 0x80, 0xff, 12, '/', 4};
  g_autoptr(GByteArray) good = index_mutation_good();
  GRand *rand = g_rand_new_with_seed(20261122);
  guint opened = 0, corrupt = 0;

  for (guint i = 0; i < N_IMAGES; i++) {
    g_autofree guint8 *image = g_memdup2(good->data, good->len);
    gint changes = g_rand_int_range(rand, 1, MAX_CHANGES);
    ExerciseResult result;

    while (changes-- > 0) {
      gsize at = (gsize)g_rand_int_range(rand, 1024, (gint32)good->len);
      gboolean favourite = g_rand_boolean(rand);
      gint32 byte = g_rand_int_range(rand, 0, 256);

      image[at] = favourite ? favourites[byte % (gint)sizeof favourites] : (guint8)byte;
    }
    index_exercise_fix_checksum(image, good->len);
    result = index_exercise(image, good->len);
    opened += result.opened;
    corrupt += result.corrupt > 0;
  }
  g_rand_free(rand);
  g_test_message("%u of %u opened, %u found corrupt", opened, N_IMAGES, corrupt);
  g_assert_cmpuint(opened, >, N_IMAGES / 4);
  g_assert_cmpuint(corrupt, >, N_IMAGES / 8);
}

/* Every length that a file cut short may have near the places that matter. */
static void
test_truncated(void)
{
  g_autoptr(GByteArray) good = index_mutation_good();

  for (gsize size = 0; size < good->len; size += size < 1400 ? 1 : 37) {
    g_autofree guint8 *image = g_memdup2(good->data, size);
    g_assert_false(index_exercise(image, size).opened);
  }
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/index-hostile/good", test_good);
  g_test_add_func("/index-hostile/should-fail", test_should_fail);
  g_test_add_func("/index-hostile/checksum", test_checksum);
  g_test_add_func("/index-hostile/loop", test_loop);
  g_test_add_func("/index-hostile/truncated", test_truncated);
  g_test_add_func("/index-hostile/random", test_random);
  return g_test_run();
}
