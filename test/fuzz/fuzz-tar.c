/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Raw tars. Checksums of what looks like a header are made right first, or no mutation would get
 * past them.
 */
#include "config.h"

#include "fuzz.h"
#include "tar-fixture.h"
#include "tar-reader.h"

#include <string.h>

#define BLOCK 512

/* Filled in before main(). */
static guint8 seed_plain[11 * BLOCK], seed_special[13 * BLOCK];

const FuzzSeed fuzz_seeds[] = {
    {seed_plain, sizeof seed_plain},
    {seed_special, sizeof seed_special},
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

static void __attribute__((constructor)) make_seeds(void)
{
  static const TarFixture plain[] = {
      {.type = '5', .path = "d/", .uid = 1},
      {.path = "d/f", .data = "content", .mtime = 1500000000},
      {.type = '1', .path = "h", .link = "d/f"},
      {.path = "x", .data = "AABB", .pax = {"mtime=1.5", "SCHILY.xattr.user.a=b", "path=long"}},
  };
  static const char long_name[] = "a/name/that/is/not/long/really";
  static const char map[] = "2\n1\n2\n6\n2\n";
  TarFixture sparse = {.path = "s",
                       .data = map,
                       .size = BLOCK,
                       .pax = {"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9",
                               "GNU.sparse.name=sparse"}};
  g_autofree char *body = g_malloc0(BLOCK + 4);
  g_autoptr(GByteArray) tar = tar_fixture_new(plain, G_N_ELEMENTS(plain));

  memcpy(seed_plain, tar->data, MIN(tar->len, sizeof seed_plain));
  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'L', long_name, sizeof long_name);
  tar_fixture_add_special(tar, 'K', long_name, sizeof long_name);
  tar_fixture_add_special(tar, 'g', "12 comment=a", 0);
  memcpy(body, map, sizeof map);
  memcpy(body + BLOCK, "AABB", 4);
  sparse.data = body;
  sparse.size = BLOCK + 4;
  tar_fixture_add(tar, &sparse);
  tar_fixture_end(tar);
  memcpy(seed_special, tar->data, MIN(tar->len, sizeof seed_special));
}

/* Pieces are in order, within the file, and no more than the input has. */
static gboolean
read_content(TarReader *reader, const TarEntry *entry, gsize max, GError **error)
{
  guint64 end = 0, total = 0;

  for (;;) {
    const guint8 *piece;
    guint64 offset;
    gsize size;

    if (!tar_reader_read(reader, &piece, &size, &offset, error))
      return FALSE;
    if (size == 0) {
      g_assert(total <= entry->size && (entry->sparse || total == 0 || total == entry->size));
      return TRUE;
    }
    g_assert(offset >= end && offset + size <= entry->size);
    end = offset + size;
    total += size;
    g_assert(total <= max);
  }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autofree guint8 *copy = g_malloc(size + 1);
  TarFixtureInput input = {.data = copy, .size = size, .piece = 700};
  g_autoptr(TarReader) reader = tar_reader_new(tar_fixture_fill, NULL, &input);
  g_autoptr(GError) error = NULL;
  const TarEntry *entry = NULL;
  gsize entries = 0;

  memcpy(copy, data, size);
  for (gsize at = 0; at + BLOCK <= size; at += BLOCK)
    if (memcmp(copy + at + 257, "ustar", 5) == 0)
      tar_fixture_fix_checksum(copy + at);
  do {
    if (!tar_reader_next(reader, &entry, &error))
      break;
    /* Every other one is skipped. */
    if (entry != NULL && ++entries % 2 == 1 && entry->type == TAR_FILE &&
        !read_content(reader, entry, size, &error))
      break;
  } while (entry != NULL);
  g_assert(entries <= size / BLOCK);
  g_assert(error != NULL || entry == NULL);
  return 0;
}
