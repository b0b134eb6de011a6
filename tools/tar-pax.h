/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * pax extended headers (POSIX.1-2017, pax, "pax Extended Header") with GNU's sparse files (tar's
 * manual, "PAX Format, Versions 0.0, 0.1, 1.0") and star's xattrs (SCHILY.xattr.*), read as stock
 * Podman's archive/tar does, names and values byte for byte: no character set is ever converted.
 * Private to the tar reader. Stands on util.
 */
#pragma once

#include <glib.h>

/* A record that is absent, or empty, which means the same: NULL, or has_... FALSE. */
typedef struct {
  char *path;
  char *link;
  char *sparse_name;
  GArray *xattrs;     /* of TreeXattr, unsorted, no name twice */
  GArray *sparse_map; /* of gint64: offset, length, ...; formats 0.0 and 0.1 */
  gboolean has_size, has_uid, has_gid, has_mtime, has_sparse_size, has_sparse_count;
  gint64 size, uid, gid, mtime, sparse_size, sparse_count;
  guint32 mtime_nsec;
  int sparse_major, sparse_minor; /* -1: absent */
} TarPax;

/* Parses the body of an extended header. INVALID. */
TarPax *tar_pax_parse(const char *body, gsize size, GError **error);
void tar_pax_free(TarPax *pax);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TarPax, tar_pax_free)

/* An array of TreeXattr that owns what is in it. */
GArray *tar_xattrs_new(void);

/* A decimal number, possibly negative, of @size characters. */
gboolean tar_parse_decimal(const char *text, gsize size, gint64 *ret_value);
