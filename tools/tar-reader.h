/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads uncompressed tar archives by libarchive, and sees to it that what comes out is what stock
 * Podman's archive/tar (Go) would read, or an error: names are bytes and stay so, types and modes
 * are the header's own, content is where and as long as the header says. Where the two still
 * differ: doc/ARCHITECTURE.md, "Decisions". Nothing in the input is trusted.
 * Stands on util, tree (for TreeXattr) and libarchive, of which nothing shows here.
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
} TarType;

/* All that it points to is the reader's, and valid until the next tar_reader_next(). */
typedef struct {
  TarType type;
  const char *path;                     /* as it stands there: "./usr/bin/", "/etc", "../x" */
  const char *link;                     /* target of a hard or symbolic link, else "" */
  guint32 mode;                         /* 07777 at most */
  gint64 uid, gid, mtime, major, minor; /* as they stand there */
  guint32 mtime_nsec;
  guint64 size;    /* of a file, holes included */
  gboolean sparse; /* there is a map of where its content belongs */
  GArray *xattrs;  /* of TreeXattr, none of them empty, in no order */
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
 * an entry of an unknown type. After an error the reader may only be freed. */
gboolean tar_reader_next(TarReader *reader, const TarEntry **ret_entry, GError **error);

/* The next piece of the content of the file at hand, which belongs at *ret_offset of it (what no
 * piece covers is a hole); *ret_size 0 at its end. */
gboolean tar_reader_read(TarReader *reader, const guint8 **ret_piece, gsize *ret_size,
                         guint64 *ret_offset, GError **error);

/* Where in the archive the next byte lies that will be read: after tar_reader_next() the start of
 * the entry's content. */
guint64 tar_reader_position(const TarReader *reader);
