/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads tar archives as stock Podman's archive/tar does: v7, ustar, pax, GNU and star headers, GNU
 * long names, base-256 numbers, all four kinds of GNU sparse files, star's xattrs. Names are bytes
 * and stay so. Why it is not libarchive: doc/ARCHITECTURE.md, "Decisions". Nothing in the input is
 * trusted.
 * Stands on util and, for TreeXattr, tree.
 */
#pragma once

#include "tree.h"

/* Gives the next piece of the archive, valid until the next call; size 0 at its end. */
typedef gboolean (*TarFill)(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error);

typedef enum {
  TAR_FILE,
  TAR_HARDLINK,
  TAR_SYMLINK,
  TAR_CHAR,
  TAR_BLOCK,
  TAR_DIRECTORY,
  TAR_FIFO,
  TAR_GLOBAL, /* a global pax header: checked, not obeyed, but archive/tar has it for an entry */
} TarType;

/* All that it points to is the reader's, and valid until the next tar_reader_next(). */
typedef struct {
  TarType type;
  const char *path;                     /* as it stands there: "./usr/bin/", "/etc", "../x" */
  const char *link;                     /* target of a hard or symbolic link, else "" */
  guint32 mode;                         /* 07777 at most */
  gint64 uid, gid, mtime, major, minor; /* as they stand there */
  guint32 mtime_nsec;
  guint64 size;   /* of a file, holes included */
  guint64 holes;  /* bytes of it that are not in the archive */
  GArray *xattrs; /* of TreeXattr, in no order; may be NULL */
} TarEntry;

typedef struct TarReader TarReader;

/* Passes over @count bytes of the archive, which follow what was given last. */
typedef gboolean (*TarSkip)(void *data, guint64 count, GError **error);

/* @skip may be NULL: then what is not wanted is read all the same. */
TarReader *tar_reader_new(TarFill fill, TarSkip skip, void *data);
void tar_reader_free(TarReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TarReader, tar_reader_free)

/* The next entry, or *ret_entry NULL at the end of the archive (what may follow it is not read).
 * What was not read of the entry before is skipped. INVALID for anything malformed or cut off, or
 * an entry of an unknown type. */
gboolean tar_reader_next(TarReader *reader, const TarEntry **ret_entry, GError **error);

/* The next piece of the entry's content, which belongs at *ret_offset of the file (what no piece
 * covers is a hole); *ret_size 0 at its end. */
gboolean tar_reader_read(TarReader *reader, const guint8 **ret_piece, gsize *ret_size,
                         guint64 *ret_offset, GError **error);

/* Where in the archive the next byte lies that will be read: after tar_reader_next() the start of
 * the entry's content. */
guint64 tar_reader_position(const TarReader *reader);
