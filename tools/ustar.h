/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Members of the plain tar archives around our own files: image archives and the reference layer.
 * Names and attributes are ours, so POSIX.1-1988 ustar does; the bytes depend on nothing but the
 * arguments. (An image's own tree goes through libarchive: export-tar.h.)
 */
#pragma once

#include <glib.h>

#define USTAR_BLOCK 512

/* Fills in the header @block of a member: @type '0' a regular file, '5' a directory; @name of at
 * most 99 bytes; owner 0:0, time 0. A @size over 8 GiB takes the base-256 form (as GNU tar and Go
 * read it). */
void ustar_fill_header(guint8 block[USTAR_BLOCK], const char *name, char type, guint mode,
                       guint64 size);

/* Bytes that fill up @size to whole blocks. */
gsize ustar_padding(guint64 size);

/* Appends a member, and the two blocks of zeroes at the end. */
void ustar_append_directory(GByteArray *archive, const char *name);
void ustar_append_file(GByteArray *archive, const char *name, const void *data, gsize size);
void ustar_append_end(GByteArray *archive);
