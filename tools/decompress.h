/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Decompression of gzip, zstd or nothing, told apart by the first bytes. Private to the blobs
 * and sources. Stands on util.
 */
#pragma once

#include <glib.h>

typedef struct Decompress Decompress;

/* @magic: the first bytes of the input, @size of them, at least 6 unless the input is shorter.
 * INVALID for a compression that is known but that no image specification has (bzip2, xz). */
Decompress *decompress_new(const guint8 *magic, gsize size, GError **error);
void decompress_free(Decompress *decompress);

/* Whether the input is not compressed. */
gboolean decompress_is_plain(const Decompress *decompress);

/* Decompresses from *@input (*@input_size bytes) to @output (@output_size), moving *@input on.
 * *ret_size: bytes written. Less than @output_size means that more input is needed. */
gboolean decompress_run(Decompress *decompress, const guint8 **input, gsize *input_size,
                        guint8 *output, gsize output_size, gsize *ret_size, GError **error);

/* Whether the input may end here. */
gboolean decompress_is_complete(const Decompress *decompress);
