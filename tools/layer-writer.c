/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "layer-writer.h"
#include "gzip-writer.h"
#include "util.h"

#include <openssl/evp.h>
#include <string.h>
#include <zstd.h>

#define BUFFER_SIZE (256 * 1024)
#define ZSTD_LEVEL 3

struct LayerWriter {
  int fd; /* the caller's */
  char *name;
  LayerCompression compression;
  EVP_MD_CTX *diff_hash;
  EVP_MD_CTX *blob_hash; /* NULL without compression: the two are one */
  guint64 written;
  GzipWriter *gzip;
  ZSTD_CCtx *zstd;
  guint8 *buffer; /* of BUFFER_SIZE */
};

static const struct {
  const char *name;
  const char *media_type;
} compressions[] = {
    [LAYER_NONE] = {"none", OCI_LAYER_TYPE},
    [LAYER_GZIP] = {"gzip", OCI_LAYER_TYPE "+gzip"},
    [LAYER_ZSTD] = {"zstd", OCI_LAYER_TYPE "+zstd"},
};

gboolean
layer_compression_parse(const char *text, LayerCompression *ret_compression)
{
  for (gsize i = 0; i < G_N_ELEMENTS(compressions); i++)
    if (strcmp(text, compressions[i].name) == 0) {
      *ret_compression = (LayerCompression)i;
      return TRUE;
    }
  return FALSE;
}

static EVP_MD_CTX *
hash_new(void)
{
  EVP_MD_CTX *hash = EVP_MD_CTX_new();
  if (!hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
    g_error("libcrypto has no SHA-256");
  return hash;
}

static char *
hash_finish(EVP_MD_CTX *hash)
{
  guint8 digest[EVP_MAX_MD_SIZE];
  guint size = 0;
  EVP_DigestFinal_ex(hash, digest, &size);
  GString *text = g_string_new("sha256:");
  for (guint i = 0; i < size; i++)
    g_string_append_printf(text, "%02x", digest[i]);
  return g_string_free(text, FALSE);
}

static gboolean
put(gpointer layer_writer, const void *data, gsize size, GError **error)
{
  LayerWriter *writer = layer_writer;
  if (size == 0)
    return TRUE;
  if (writer->blob_hash)
    EVP_DigestUpdate(writer->blob_hash, data, size);
  writer->written += size;
  return util_write_all(writer->fd, data, size) ||
         util_error_errno(error, "write %s", writer->name);
}

static gboolean
compressor_start(LayerWriter *writer)
{
  if (writer->compression == LAYER_GZIP) {
    writer->gzip = gzip_writer_new(put, writer);
    return TRUE;
  }
  writer->zstd = ZSTD_createCCtx();
  if (!writer->zstd)
    return FALSE;
  ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
  ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1);
  /* A libzstd without threads refuses, and then compresses in ours. */
  ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_nbWorkers, (int)g_get_num_processors());
  return TRUE;
}

LayerWriter *
layer_writer_new(int fd, LayerCompression compression, const char *name, GError **error)
{
  g_autoptr(LayerWriter) writer = g_new0(LayerWriter, 1);
  writer->fd = fd;
  writer->name = g_strdup(name);
  writer->compression = LAYER_NONE;
  writer->diff_hash = hash_new();
  if (compression == LAYER_NONE)
    return g_steal_pointer(&writer);
  writer->compression = compression;
  writer->blob_hash = hash_new();
  writer->buffer = g_malloc(BUFFER_SIZE);
  if (!compressor_start(writer)) {
    util_error(error, NIXSTORE_ERROR_FAILED, "start %s", compressions[compression].name);
    return NULL;
  }
  return g_steal_pointer(&writer);
}

void
layer_writer_free(LayerWriter *writer)
{
  if (!writer)
    return;
  gzip_writer_free(writer->gzip);
  ZSTD_freeCCtx(writer->zstd);
  EVP_MD_CTX_free(writer->diff_hash);
  EVP_MD_CTX_free(writer->blob_hash);
  g_free(writer->buffer);
  g_free(writer->name);
  g_free(writer);
}

static gboolean
zstd_write(LayerWriter *writer, const void *data, gsize size, gboolean end, GError **error)
{
  ZSTD_inBuffer in = {data, size, 0};
  gsize left;
  do {
    ZSTD_outBuffer out = {writer->buffer, BUFFER_SIZE, 0};
    left = ZSTD_compressStream2(writer->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left))
      return util_error(error, NIXSTORE_ERROR_FAILED, "compress %s: %s", writer->name,
                        ZSTD_getErrorName(left));
    if (!put(writer, writer->buffer, out.pos, error))
      return FALSE;
  } while (end ? left != 0 : in.pos < in.size);
  return TRUE;
}

static gboolean
compress_write(LayerWriter *writer, const void *data, gsize size, gboolean end, GError **error)
{
  switch (writer->compression) {
  case LAYER_GZIP:
    return gzip_writer_write(writer->gzip, data, size, error) &&
           (!end || gzip_writer_finish(writer->gzip, error));
  case LAYER_ZSTD:
    return zstd_write(writer, data, size, end, error);
  default:
    return put(writer, data, size, error);
  }
}

gboolean
layer_writer_write(LayerWriter *writer, const void *data, gsize size, GError **error)
{
  EVP_DigestUpdate(writer->diff_hash, data, size);
  return compress_write(writer, data, size, FALSE, error);
}

gboolean
layer_writer_finish(LayerWriter *writer, char **ret_diff_id, OciBlob *ret_blob, GError **error)
{
  if (!compress_write(writer, "", 0, TRUE, error))
    return FALSE;
  *ret_diff_id = hash_finish(writer->diff_hash);
  ret_blob->media_type = compressions[writer->compression].media_type;
  ret_blob->digest = writer->blob_hash ? hash_finish(writer->blob_hash) : g_strdup(*ret_diff_id);
  ret_blob->size = writer->written;
  return TRUE;
}
