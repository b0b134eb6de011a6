/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * gzip (RFC 1952) on all processors: blocks are compressed beside each other and joined to one
 * deflate stream (RFC 1951), as pigz does it. The same input gives the same output, on any number
 * of processors.
 */
#pragma once

#include <glib.h>

typedef struct GzipWriter GzipWriter;

/* Takes what is compressed, in order, in the thread that calls the functions below. */
typedef gboolean (*GzipPut)(gpointer data, const void *bytes, gsize size, GError **error);

GzipWriter *gzip_writer_new(GzipPut put, gpointer data);
gboolean gzip_writer_write(GzipWriter *writer, const void *bytes, gsize size, GError **error);
/* Writes what is left, and the end. */
gboolean gzip_writer_finish(GzipWriter *writer, GError **error);
/* Takes NULL. */
void gzip_writer_free(GzipWriter *writer);
