/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The 512-byte headers of tar: v7, ustar and pax (POSIX.1-2017, pax), GNU (tar's manual, "Basic Tar
 * Format") and star. Private to the tar reader. Stands on util.
 */
#pragma once

#include <glib.h>

#define TAR_BLOCK_SIZE 512
/* Old GNU sparse entries: four in the header, twenty-one in each block that follows. */
#define TAR_SPARSE_IN_HEADER 4
#define TAR_SPARSE_IN_BLOCK 21

typedef enum { TAR_FORMAT_V7, TAR_FORMAT_USTAR, TAR_FORMAT_GNU, TAR_FORMAT_STAR } TarFormat;

typedef struct {
  TarFormat format;
  char type;                    /* the type flag: '0' to '7', 'x', 'L', ..., or NUL */
  char name[155 + 1 + 100 + 1]; /* prefix included */
  char link[100 + 1];
  gint64 mode, uid, gid, size, mtime, major, minor;
} TarHeader;

/* Whether the block is nothing but zeros. */
gboolean tar_block_is_zero(const guint8 *block);

/* Parses @block. INVALID when its checksum or a number is wrong. */
gboolean tar_header_parse(const guint8 *block, TarHeader *ret_header, GError **error);

/* A numeric field: octal digits, or base-256 where its first bit is set. May be negative. */
gboolean tar_parse_number(const guint8 *field, gsize size, gint64 *ret_value);

/* The old GNU sparse map: appends the (offset, length) pairs of a header block (@in_header) or of
 * a block that follows one to @map, an array of gint64. *ret_more: another block follows.
 * *ret_size, of a header alone: the file's real size. */
gboolean tar_parse_gnu_sparse(const guint8 *block, gboolean in_header, GArray *map,
                              gboolean *ret_more, gint64 *ret_size);
