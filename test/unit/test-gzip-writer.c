/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "gzip-writer.h"
#include "util.h"

#include <string.h>
#include <zlib.h>

static gboolean
collect(gpointer data, const void *bytes, gsize size, GError **error)
{
  g_byte_array_append(data, bytes, (guint)size);
  return TRUE;
}

/* Text that compresses, with noise from place to place. */
static guint8 *
make_input(gsize size)
{
  guint8 *input = g_malloc(size + 1);
  g_autoptr(GRand) random = g_rand_new_with_seed(1);
  for (gsize i = 0; i < size; i++)
    input[i] = i % 70000 < 20000 ? (guint8)g_rand_int(random) : (guint8)("abcdefgh"[i / 100 % 8]);
  return input;
}

static GByteArray *
compress_pieces(const guint8 *input, gsize size, gsize piece)
{
  g_autoptr(GError) error = NULL;
  GByteArray *out = g_byte_array_new();
  GzipWriter *writer = gzip_writer_new(collect, out);
  for (gsize at = 0; at < size; at += piece)
    g_assert_true(gzip_writer_write(writer, input + at, MIN(piece, size - at), &error));
  g_assert_true(gzip_writer_finish(writer, &error));
  g_assert_no_error(error);
  gzip_writer_free(writer);
  return out;
}

/* zlib is the judge: one member, nothing after it, the CRC right. */
static void
assert_inflates(const GByteArray *compressed, const guint8 *expected, gsize size)
{
  z_stream stream = {0};
  g_autofree guint8 *out = g_malloc(size + 1);
  g_assert_cmpint(inflateInit2(&stream, 15 + 16), ==, Z_OK);
  stream.next_in = compressed->data;
  stream.avail_in = compressed->len;
  stream.next_out = out;
  stream.avail_out = (uInt)(size + 1);
  g_assert_cmpint(inflate(&stream, Z_FINISH), ==, Z_STREAM_END);
  g_assert_cmpuint(stream.avail_in, ==, 0);
  g_assert_cmpuint(stream.total_out, ==, size);
  inflateEnd(&stream);
  g_assert_cmpint(memcmp(out, expected, size), ==, 0);
}

static void
test_sizes(void)
{
  const gsize block = 512 * 1024;
  const gsize sizes[] = {0, 1, block - 1, block, block + 1, 2 * block, 20 * block + 12345};
  for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
    g_autofree guint8 *input = make_input(sizes[i]);
    g_autoptr(GByteArray) whole = compress_pieces(input, sizes[i], MAX(sizes[i], 1));
    g_autoptr(GByteArray) pieces = compress_pieces(input, sizes[i], 100001);
    assert_inflates(whole, input, sizes[i]);
    g_assert_cmpmem(whole->data, whole->len, pieces->data, pieces->len);
    g_assert_cmpuint(whole->len, <=, sizes[i] * 2 / 3 + 1000);
  }
}

static gboolean
fill_up(gpointer data, const void *bytes, gsize size, GError **error)
{
  gsize *room = data;
  if (size > *room)
    return util_error(error, NIXSTORE_ERROR_FAILED, "full");
  *room -= size;
  return TRUE;
}

/* A failure half way is said, and everything is freed with blocks still being compressed. */
static void
test_failure(void)
{
  const gsize size = 20 * 1024 * 1024;
  g_autofree guint8 *input = make_input(size);
  for (gsize room = 0; room < 4000000; room += 777777) {
    gsize left = room;
    g_autoptr(GError) error = NULL;
    GzipWriter *writer = gzip_writer_new(fill_up, &left);
    gboolean ok =
        gzip_writer_write(writer, input, size, &error) && gzip_writer_finish(writer, &error);
    g_assert_false(ok);
    g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_FAILED);
    gzip_writer_free(writer);
  }
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/gzip-writer/sizes", test_sizes);
  g_test_add_func("/gzip-writer/failure", test_failure);
  return g_test_run();
}
