/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tars for tests, written header by header, so that anything can be wrong with them.
 */
#pragma once

#include <glib.h>

typedef struct {
  char type; /* '0', '5', ...; NUL is written as '0' */
  const char *path;
  const char *link;
  guint mode; /* 0: 0644, or 0755 for a directory */
  guint uid, gid;
  gint64 mtime;
  guint major, minor;
  const char *data;   /* a file's content */
  gsize size;         /* of @data; 0: strlen (data) */
  const char *pax[8]; /* records of an extended header before the entry: "key=value" */
} TarFixture;

/* Appends an entry, with what has to precede it. */
void tar_fixture_add(GByteArray *tar, const TarFixture *entry);

/* Appends a header of type @type whose body is the @size bytes of @body ('x', 'L', ...). */
void tar_fixture_add_special(GByteArray *tar, char type, const void *body, gsize size);

/* Appends the two blocks of zeros. */
void tar_fixture_end(GByteArray *tar);

/* Makes the checksum of the header @block right. */
void tar_fixture_fix_checksum(guint8 *block);

/* A whole tar of @n_entries. Caller frees. */
GByteArray *tar_fixture_new(const TarFixture *entries, gsize n_entries);

/* The input of a reader: gives @data in pieces of @piece bytes, so that headers lie across them. */
typedef struct {
  const guint8 *data;
  gsize size, offset, piece;
} TarFixtureInput;

/* A TarFill for it. */
gboolean tar_fixture_fill(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error);
