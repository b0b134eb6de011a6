/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Members of tar archives, POSIX.1-1988 ustar. That does for files of ours: image archives and the
 * reference layer. (For an image's own tree pax.h says what does not fit.) The bytes depend on
 * nothing but the arguments.
 */
#pragma once

#include <glib.h>

#define USTAR_BLOCK 512

typedef struct {
  const char *name;     /* what is over 100 bytes is cut off */
  const char *linkname; /* the same; NULL: none */
  char type;            /* '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory,
                           '6' FIFO, 'x' pax header */
  guint mode;
  guint32 uid, gid, rdev_major, rdev_minor; /* 0 stands for what does not fit */
  guint64 size;                             /* over 8 GiB in base 256, as GNU tar and Go read it */
  gint64 mtime;                             /* 0 stands for what does not fit */
} UstarEntry;

/* Whether @number fits the fields of owners and devices, and @mtime that of the time. */
gboolean ustar_fits_number(guint32 number);
gboolean ustar_fits_mtime(gint64 mtime);

/* Fills in the header @block of a member. */
void ustar_fill_header(guint8 block[USTAR_BLOCK], const UstarEntry *entry);

/* The same for a file of ours: mode 0444, owner 0:0, time 0. */
void ustar_fill_file_header(guint8 block[USTAR_BLOCK], const char *name, guint64 size);

/* Bytes that fill up @size to whole blocks. */
gsize ustar_padding(guint64 size);

/* Appends a member, and the two blocks of zeroes at the end. */
void ustar_append_directory(GByteArray *archive, const char *name);
void ustar_append_file(GByteArray *archive, const char *name, const void *data, gsize size);
void ustar_append_end(GByteArray *archive);
