/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "decompress.h"
#include "util.h"

#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>

typedef enum { KIND_PLAIN, KIND_GZIP, KIND_ZSTD } Kind;

struct Decompress {
  Kind kind;
  gboolean complete; /* between two members or frames */
  struct inflate_state *gzip;
  ZSTD_DCtx *zstd;
};

static gboolean
starts_with(const guint8 *data, gsize size, const void *magic, gsize magic_size)
{
  return size >= magic_size && memcmp(data, magic, magic_size) == 0;
}

Decompress *
decompress_new(const guint8 *magic, gsize size, GError **error)
{
  Decompress *decompress;
  Kind kind = KIND_PLAIN;

  if (starts_with(magic, size, "BZh", 3) || starts_with(magic, size,
                                                        "\xfd"
                                                        "7zXZ",
                                                        6)) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "compressed with bzip2 or xz, which images do not allow: gzip, zstd or nothing");
    return NULL;
  }
  if (starts_with(magic, size, "\x1f\x8b\x08", 3))
    kind = KIND_GZIP;
  /* A frame, or a skippable one, as zstd:chunked puts at its end. */
  else if (starts_with(magic, size, "\x28\xb5\x2f\xfd", 4) ||
           (size >= 4 && (magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0))
    kind = KIND_ZSTD;
  decompress = g_new0(Decompress, 1);
  decompress->kind = kind;
  decompress->complete = kind == KIND_PLAIN;
  if (kind == KIND_GZIP) {
    decompress->gzip = g_new(struct inflate_state, 1);
    isal_inflate_init(decompress->gzip);
    decompress->gzip->crc_flag = ISAL_GZIP;
  }
  if (kind == KIND_ZSTD)
    decompress->zstd = ZSTD_createDCtx();
  return decompress;
}

void
decompress_free(Decompress *decompress)
{
  if (decompress == NULL)
    return;
  g_free(decompress->gzip);
  ZSTD_freeDCtx(decompress->zstd);
  g_free(decompress);
}

gboolean
decompress_is_complete(const Decompress *decompress)
{
  return decompress->complete;
}

gboolean
decompress_is_plain(const Decompress *decompress)
{
  return decompress->kind == KIND_PLAIN;
}

static const char *
gzip_error_text(int status)
{
  switch (status) {
  case ISAL_INVALID_WRAPPER:
  case ISAL_UNSUPPORTED_METHOD:
    return "a malformed header";
  case ISAL_INCORRECT_CHECKSUM:
    return "its checksum or length is wrong";
  default:
    return "a malformed block";
  }
}

/* By ISA-L, which does it in half the time that zlib takes. */
static gboolean
run_gzip(Decompress *decompress, const guint8 **input, gsize *input_size, guint8 *output,
         gsize output_size, gsize *ret_size, GError **error)
{
  struct inflate_state *gzip = decompress->gzip;

  gzip->next_in = (guint8 *)*input;
  gzip->avail_in = (guint32)*input_size;
  gzip->next_out = output;
  gzip->avail_out = (guint32)output_size;
  /* Also without input: output may still be held back. */
  while (gzip->avail_out > 0 && (gzip->avail_in > 0 || !decompress->complete)) {
    guint32 before_in = gzip->avail_in, before_out = gzip->avail_out;
    int status;

    /* Another member follows (RFC 1952, 2.2). */
    if (decompress->complete) {
      isal_inflate_reset(gzip);
      gzip->crc_flag = ISAL_GZIP;
    }
    status = isal_inflate(gzip);
    if (status < 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "corrupt gzip data: %s",
                        gzip_error_text(status));
    decompress->complete = gzip->block_state == ISAL_BLOCK_FINISH;
    if (gzip->avail_in == before_in && gzip->avail_out == before_out)
      break;
  }
  *ret_size = output_size - gzip->avail_out;
  *input += *input_size - gzip->avail_in;
  *input_size = gzip->avail_in;
  return TRUE;
}

static gboolean
run_zstd(Decompress *decompress, const guint8 **input, gsize *input_size, guint8 *output,
         gsize output_size, gsize *ret_size, GError **error)
{
  ZSTD_inBuffer in = {*input, *input_size, 0};
  ZSTD_outBuffer out = {output, output_size, 0};

  /* Also without input: a frame may still hold output back. */
  do {
    gsize before_in = in.pos, before_out = out.pos;
    gsize status = ZSTD_decompressStream(decompress->zstd, &out, &in);

    if (ZSTD_isError(status))
      return util_error(error, NIXSTORE_ERROR_INVALID, "corrupt zstd data: %s",
                        ZSTD_getErrorName(status));
    if (in.pos == before_in && out.pos == before_out)
      break;
    decompress->complete = status == 0;
  } while (out.pos < out.size && (in.pos < in.size || !decompress->complete));
  *ret_size = out.pos;
  *input += in.pos;
  *input_size -= in.pos;
  return TRUE;
}

gboolean
decompress_run(Decompress *decompress, const guint8 **input, gsize *input_size, guint8 *output,
               gsize output_size, gsize *ret_size, GError **error)
{
  gsize size;

  switch (decompress->kind) {
  case KIND_GZIP:
    return run_gzip(decompress, input, input_size, output, output_size, ret_size, error);
  case KIND_ZSTD:
    return run_zstd(decompress, input, input_size, output, output_size, ret_size, error);
  default:
    size = MIN(*input_size, output_size);
    memcpy(output, *input, size);
    *input += size;
    *input_size -= size;
    *ret_size = size;
    return TRUE;
  }
}
