/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The way of a layer from tar to file: hashed, compressed, hashed again, written.
 */
#pragma once

#include "oci.h"

#include <glib.h>

typedef enum { LAYER_NONE, LAYER_GZIP, LAYER_ZSTD } LayerCompression;

/* From "none", "gzip" or "zstd"; FALSE for any other. */
gboolean layer_compression_parse(const char *text, LayerCompression *ret_compression);

typedef struct LayerWriter LayerWriter;

/* Writes to @fd, from where it stands on; the caller keeps it. @name is for errors. */
LayerWriter *layer_writer_new(int fd, LayerCompression compression, const char *name,
                              GError **error);
gboolean layer_writer_write(LayerWriter *writer, const void *data, gsize size, GError **error);

/* Writes what is left. *ret_diff_id is the digest of what came in, @ret_blob describes what was
 * written; the caller frees the digest of each. */
gboolean layer_writer_finish(LayerWriter *writer, char **ret_diff_id, OciBlob *ret_blob,
                             GError **error);
void layer_writer_free(LayerWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerWriter, layer_writer_free)
