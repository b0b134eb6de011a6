/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mutated tars, and what the reader makes of them, for tar-judge.go: to the file that
 * NIXSTORE_TAR_MUTANTS names go, for each tar, itself, its listing, and the error or nothing, each
 * after its size in 32 bits.
 */
#include "config.h"

#include "fuzz.h"
#include "tar-fixture.h"
#include "tar-listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512
#define SEED_SIZE (16 * BLOCK)

/* Filled in before main(). */
static guint8 seeds[3][SEED_SIZE];

const FuzzSeed fuzz_seeds[] = {{seeds[0], SEED_SIZE}, {seeds[1], SEED_SIZE}, {seeds[2], SEED_SIZE}};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

static void
keep_seed(guint8 *seed, GByteArray *tar)
{
  memcpy(seed, tar->data, MIN(tar->len, SEED_SIZE));
  g_byte_array_set_size(tar, 0);
}

static void __attribute__((constructor)) make_seeds(void)
{
  static const TarFixture plain[] = {
      {.type = '5', .path = "d/", .uid = 1, .mode = 02755},
      {.path = "d/f", .data = "content", .mtime = 1500000000, .gid = 7},
      {.type = '1', .path = "h", .link = "d/f"},
      {.type = '2', .path = "s", .link = "d/f", .pax = {"linkpath=\303\251\377", "mtime=-1.5"}},
      {.type = '3', .path = "c", .major = 1, .minor = 3},
      {.type = '6', .path = "p"},
  };
  static const TarFixture pax[] = {
      {.path = "x",
       .data = "AABB",
       .pax = {"mtime=1.5", "SCHILY.xattr.user.a=b", "path=e\314\201", "uid=70000", "gid=7"}},
      {.path = "y",
       .data = "AABB",
       .pax = {"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=1,2,6,2"}},
  };
  static const TarFixture gnu[] = {{.path = "a", .data = "x"}, {.type = '2', .path = "b"}};
  static const char map[BLOCK + 5] = "2\n1\n2\n6\n2\n", long_name[] = "a/name/that/is/not/long";
  static const TarFixture sparse = {.path = "s",
                                    .data = map,
                                    .size = BLOCK + 4,
                                    .pax = {"GNU.sparse.major=1", "GNU.sparse.minor=0",
                                            "GNU.sparse.realsize=9", "GNU.sparse.name=sparse"}};
  g_autoptr(GByteArray) tar = g_byte_array_new();

  for (gsize i = 0; i < G_N_ELEMENTS(plain); i++)
    tar_fixture_add(tar, &plain[i]);
  keep_seed(seeds[0], tar);
  tar_fixture_add(tar, &pax[0]);
  tar_fixture_add(tar, &pax[1]);
  tar_fixture_add(tar, &sparse);
  keep_seed(seeds[1], tar);
  tar_fixture_add_special(tar, 'g', "12 comment=a", 0);
  tar_fixture_add_special(tar, 'L', long_name, sizeof long_name);
  tar_fixture_add(tar, &gnu[0]);
  tar_fixture_add_special(tar, 'K', long_name, sizeof long_name);
  tar_fixture_add(tar, &gnu[1]);
  keep_seed(seeds[2], tar);
}

/* Makes checksums right, or no mutation would get past them. FALSE for what has both GNU's long
 * names and pax headers: of those the reader, unlike archive/tar, takes the one that comes first.
 */
static gboolean
make_plausible(guint8 *tar, gsize size)
{
  gboolean has_gnu = FALSE, has_pax = FALSE;

  for (gsize at = 0; at + BLOCK <= size; at += BLOCK) {
    if (memcmp(tar + at + 257, "ustar", 5) != 0)
      continue;
    tar_fixture_fix_checksum(tar + at);
    has_gnu |= tar[at + 156] == 'L' || tar[at + 156] == 'K';
    has_pax |= tar[at + 156] == 'x';
  }
  return !has_gnu || !has_pax;
}

static void
put(FILE *file, const void *data, gsize size)
{
  guint32 size_le = GUINT32_TO_LE((guint32)size);

  if (fwrite(&size_le, sizeof size_le, 1, file) != 1 || fwrite(data, 1, size, file) != size)
    g_error("cannot write the mutants");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static FILE *file;
  g_autofree guint8 *copy = g_malloc(size + 1);
  TarFixtureInput input = {.data = copy, .size = size, .piece = 700};
  g_autoptr(TarReader) reader = tar_reader_new(tar_fixture_fill, NULL, &input);
  g_autoptr(GString) text = g_string_new(NULL);
  g_autoptr(GError) error = NULL;

  if (file == NULL && (file = fopen(g_getenv("NIXSTORE_TAR_MUTANTS"), "we")) == NULL)
    g_error("cannot write to NIXSTORE_TAR_MUTANTS");
  memcpy(copy, data, size);
  if (!make_plausible(copy, size))
    return 0;
  tar_listing_append(text, reader, TRUE, &error);
  put(file, copy, size);
  put(file, text->str, text->len);
  put(file, error != NULL ? error->message : "", error != NULL ? strlen(error->message) : 0);
  return 0;
}
