/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "blob.h"
#include "decompress.h"
#include "util.h"

#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

static void
append_gzip(GByteArray *out, const GByteArray *data)
{
  z_stream stream = {0};
  gsize start = out->len;

  g_assert_cmpint(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), ==, Z_OK);
  g_byte_array_set_size(out, (guint)(start + deflateBound(&stream, data->len)));
  stream.next_in = data->data;
  stream.avail_in = data->len;
  stream.next_out = out->data + start;
  stream.avail_out = (uInt)(out->len - start);
  g_assert_cmpint(deflate(&stream, Z_FINISH), ==, Z_STREAM_END);
  g_byte_array_set_size(out, (guint)(start + stream.total_out));
  deflateEnd(&stream);
}

static void
append_zstd(GByteArray *out, const GByteArray *data)
{
  gsize start = out->len, size;

  g_byte_array_set_size(out, (guint)(start + ZSTD_compressBound(data->len)));
  size = ZSTD_compress(out->data + start, out->len - start, data->data, data->len, 3);
  g_assert_false(ZSTD_isError(size));
  g_byte_array_set_size(out, (guint)(start + size));
}

/* A frame of metadata, as zstd:chunked has at its end. */
static void
append_skippable(GByteArray *out)
{
  static const guint8 frame[] = "\x50\x2a\x4d\x18\x04\0\0\0meta";

  g_byte_array_append(out, frame, sizeof frame - 1);
}

static void
append_plain(GByteArray *out, const GByteArray *data)
{
  g_byte_array_append(out, data->data, data->len);
}

/* @size bytes that compress, but not to nothing. */
static GByteArray *
make_data(gsize size)
{
  GByteArray *data = g_byte_array_sized_new((guint)size);
  guint32 state = 1;

  g_byte_array_set_size(data, (guint)size);
  for (gsize i = 0; i < size; i++) {
    state = state * 1664525 + 1013904223;
    data->data[i] = (guint8)((state >> 24) & 0x3f);
  }
  return data;
}

static char *
digest_of(const GByteArray *data)
{
  g_autofree char *hex = util_sha256_hex(data->data, data->len);

  return g_strconcat("sha256:", hex, NULL);
}

/* @stored in a file, behind something else; @expected is what it decompresses to. */
static Blob *
make_blob(const GByteArray *stored, const GByteArray *expected)
{
  Blob *blob = g_new0(Blob, 1);

  blob->fd = memfd_create("blob", MFD_CLOEXEC);
  g_assert_true(util_write_all(blob->fd, "before", 6));
  g_assert_true(util_write_all(blob->fd, stored->data, stored->len));
  g_assert_true(util_write_all(blob->fd, "what lies behind", 16));
  blob->offset = 6;
  blob->size = stored->len;
  blob->digest = digest_of(stored);
  blob->diff_id = digest_of(expected);
  return blob;
}

static void
close_blob(Blob *blob)
{
  close(blob->fd);
  blob_free(blob);
}

/* All that the stream gives; NULL with @error. */
static GByteArray *
read_all(const Blob *blob, BlobBudget *budget, GError **error)
{
  g_autoptr(BlobStream) stream = blob_stream_new(blob, budget);
  g_autoptr(GByteArray) out = g_byte_array_new();

  for (;;) {
    const guint8 *piece;
    gsize size;

    if (!blob_stream_next(stream, &piece, &size, error))
      return NULL;
    if (size == 0)
      return g_steal_pointer(&out);
    g_byte_array_append(out, piece, (guint)size);
  }
}

typedef void (*Append)(GByteArray *out, const GByteArray *data);

/* One member, then three. Sizes about those of the stream's own buffers, and more than all of them.
 */
static void
test_kind(gconstpointer user_data)
{
  static const gsize sizes[] = {0, 1, 262143, 262144, 262145, 5000000};
  Append append = *(const Append *)user_data;

  for (gsize i = 0; i < 2 * G_N_ELEMENTS(sizes); i++) {
    g_autoptr(GByteArray) data = make_data(sizes[i / 2]), stored = g_byte_array_new();
    g_autoptr(GByteArray) expected = g_byte_array_new(), out = NULL;
    g_autoptr(GError) error = NULL;
    BlobBudget budget = {0};

    for (gsize member = 0; member < (i % 2 ? 3 : 1); member++) {
      append(stored, data);
      g_byte_array_append(expected, data->data, data->len);
    }
    if (append == append_zstd)
      append_skippable(stored);
    Blob *blob = make_blob(stored, expected);
    out = read_all(blob, &budget, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(out->data, out->len, expected->data, expected->len);
    g_assert_cmpuint(budget.decompressed, ==, expected->len);
    g_assert_cmpuint(budget.consumed, ==, stored->len);
    close_blob(blob);
  }
}

/* What must be refused, and by which words. */
static void
assert_refused(Blob *blob, guint64 max_size, const char *words)
{
  BlobBudget budget = {.max_size = max_size};
  g_autoptr(GError) error = NULL;

  g_assert_null(read_all(blob, &budget, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  if (strstr(error->message, words) == NULL)
    g_error("wanted `%s', got: %s", words, error->message);
}

static void
test_refused(void)
{
  g_autoptr(GByteArray) data = make_data(1000000), gzip = g_byte_array_new();
  g_autoptr(GByteArray) garbage = g_byte_array_new();
  Blob *blob;

  append_gzip(gzip, data);
  blob = make_blob(gzip, data);
  blob->diff_id[10] = blob->diff_id[10] == '0' ? '1' : '0';
  assert_refused(blob, 0, "its diff ID is");
  close_blob(blob);

  blob = make_blob(gzip, data);
  blob->digest[10] = blob->digest[10] == '0' ? '1' : '0';
  assert_refused(blob, 0, "its digest is");
  close_blob(blob);

  blob = make_blob(gzip, data);
  assert_refused(blob, 999999, "--max-size");
  blob->size--;
  assert_refused(blob, 0, "cut off");
  blob->size += 1 + 16;
  assert_refused(blob, 0, "corrupt gzip data");
  close_blob(blob);

  blob = make_blob(data, data);
  blob->size += 1000;
  assert_refused(blob, 0, "the file is cut off");
  close_blob(blob);

  g_byte_array_append(garbage,
                      (const guint8 *)"\xfd"
                                      "7zXZ\0",
                      6);
  blob = make_blob(garbage, data);
  assert_refused(blob, 0, "bzip2 or xz");
  close_blob(blob);
}

/* Decompresses in pieces of at most @in_max and @out_max bytes. Returns whether it went to a proper
 * end. */
static gboolean
decompress_in_pieces(const GByteArray *stored, guint in_max, guint out_max, GByteArray *out)
{
  Decompress *decompress = decompress_new(stored->data, stored->len, NULL);
  gboolean ok = TRUE;
  guint done = 0;

  while (ok && done < stored->len) {
    const guint8 *input = stored->data + done;
    gsize input_size = (gsize)g_test_rand_int_range(1, (gint32)in_max + 1);
    gsize room, got = 0;

    input_size = MIN(input_size, stored->len - done);
    done += (guint)input_size;
    do {
      guint8 piece[1000];

      room = (gsize)g_test_rand_int_range(1, (gint32)out_max + 1);
      ok = decompress_run(decompress, &input, &input_size, piece, room, &got, NULL);
      if (ok)
        g_byte_array_append(out, piece, (guint)got);
    } while (ok && got == room);
    g_assert_true(!ok || input_size == 0);
  }
  ok = ok && decompress_is_complete(decompress);
  decompress_free(decompress);
  return ok;
}

static void
test_pieces(gconstpointer user_data)
{
  Append append = *(const Append *)user_data;
  static const guint sizes[][2] = {{1, 1}, {1, 1000}, {20000, 1}, {7, 13}, {5000, 1000}};
  g_autoptr(GByteArray) data = make_data(20000), stored = g_byte_array_new();
  g_autoptr(GByteArray) expected = g_byte_array_new(), empty = g_byte_array_new();

  append(stored, data);
  append(stored, empty);
  append(stored, data);
  append_plain(expected, data);
  append_plain(expected, data);
  for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
    g_autoptr(GByteArray) out = g_byte_array_new();

    g_assert_true(decompress_in_pieces(stored, sizes[i][0], sizes[i][1], out));
    g_assert_cmpmem(out->data, out->len, expected->data, expected->len);
  }
}

/* One byte wrong anywhere but in what a gzip header says of the file: an error, or cut off. */
static void
test_flipped(void)
{
  g_autoptr(GByteArray) data = make_data(3000), stored = g_byte_array_new();

  append_gzip(stored, data);
  for (guint i = 10; i < stored->len; i++) {
    g_autoptr(GByteArray) out = g_byte_array_new();

    stored->data[i] ^= (guint8)(1 << i % 8);
    g_assert_false(decompress_in_pieces(stored, 5000, 1000, out));
    stored->data[i] ^= (guint8)(1 << i % 8);
  }
}

/* A reader that has had enough, at any point, ends the thread too. */
static void
test_stop(void)
{
  g_autoptr(GByteArray) data = make_data(8000000), gzip = g_byte_array_new();
  BlobBudget budget = {0};
  Blob *blob;

  append_gzip(gzip, data);
  blob = make_blob(gzip, data);
  for (int pieces = 0; pieces < 20; pieces++) {
    g_autoptr(BlobStream) stream = blob_stream_new(blob, &budget);
    for (int i = 0; i < pieces; i++) {
      const guint8 *piece;
      gsize size;
      g_assert_true(blob_stream_next(stream, &piece, &size, NULL));
    }
  }
  close_blob(blob);
}

static void
test_read(void)
{
  g_autoptr(GByteArray) data = make_data(5000);
  g_autoptr(GError) error = NULL;
  Blob *blob = make_blob(data, data);
  g_autofree char *text = NULL;
  gsize size;

  text = blob_read(blob, 5000, &size, &error);
  g_assert_no_error(error);
  g_assert_cmpmem(text, size, data->data, data->len);
  g_assert_cmpint(text[size], ==, '\0');
  g_assert_null(blob_read(blob, 4999, &size, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  close_blob(blob);
}

int
main(int argc, char **argv)
{
  static const Append plain = append_plain, gzip = append_gzip, zstd = append_zstd;

  g_test_init(&argc, &argv, NULL);
  g_test_add_data_func("/blob/plain", &plain, test_kind);
  g_test_add_data_func("/blob/gzip", &gzip, test_kind);
  g_test_add_data_func("/blob/zstd", &zstd, test_kind);
  g_test_add_data_func("/blob/pieces/gzip", &gzip, test_pieces);
  g_test_add_data_func("/blob/pieces/zstd", &zstd, test_pieces);
  g_test_add_func("/blob/flipped", test_flipped);
  g_test_add_func("/blob/refused", test_refused);
  g_test_add_func("/blob/stop", test_stop);
  g_test_add_func("/blob/read", test_read);
  return g_test_run();
}
