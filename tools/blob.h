/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Blobs: named byte ranges of files on this machine, and verified streams of them. Stands on util.
 */
#pragma once

#include <glib.h>

/* Where a blob's bytes are. */
typedef struct {
  int fd; /* borrowed from the source, which outlives it */
  guint64 offset;
  guint64 size;
  char *digest;  /* "sha256:<hex>" of these bytes, to be verified; NULL: nobody says */
  char *diff_id; /* "sha256:<hex>" of them decompressed; NULL: nobody says */
} Blob;

void blob_free(Blob *blob);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Blob, blob_free)

/* All of @blob, which may have @max bytes at most; its digest verified. NUL-terminated beyond its
 * length. INVALID on a wrong digest. */
char *blob_read(const Blob *blob, gsize max, gsize *ret_size, GError **error);

/* What several streams may take together, and what they have taken. Atomic. */
typedef struct {
  guint64 max_size;     /* decompressed bytes; 0: no limit */
  guint64 decompressed; /* so far */
  guint64 consumed;     /* bytes of the blobs themselves so far */
  /* Called from the streams' threads whenever @consumed has grown; NULL. */
  void (*tick)(void *data, guint64 consumed);
  void *tick_data;
} BlobBudget;

/* Takes @size decompressed bytes from @budget. INVALID when that is too much. */
gboolean blob_budget_take(BlobBudget *budget, guint64 size, GError **error);

/* A decompressed stream. A thread of its own reads ahead into a few buffers, decompresses (gzip,
 * zstd, or not at all: the first bytes tell) and hashes both sides. */
typedef struct BlobStream BlobStream;

/* Starts reading @blob, which is borrowed, as is @budget. */
BlobStream *blob_stream_new(const Blob *blob, BlobBudget *budget);
/* Stops the thread; takes NULL. */
void blob_stream_free(BlobStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlobStream, blob_stream_free)

/* The next piece, valid until the next call; *ret_size 0 at the end, which is reached only if both
 * digests are right. INVALID where they are not, and for anything that does not decompress. */
gboolean blob_stream_next(BlobStream *stream, const guint8 **ret_piece, gsize *ret_size,
                          GError **error);

/* Reads to the end, so that the digests are verified. */
gboolean blob_stream_drain(BlobStream *stream, GError **error);
