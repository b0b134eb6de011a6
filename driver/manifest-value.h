/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The values of ownership.mtree's keywords, a stranger's. Private to the manifest. Stands on util.
 */
#pragma once

#include <glib.h>

/* A piece of a line; not NUL-terminated. */
typedef struct {
  const char *data;
  gsize size;
} ManifestToken;

gboolean manifest_token_is(ManifestToken token, const char *text);

/* Each returns FALSE (NULL) for anything malformed. */

/* A number without sign in @base, @max at most. */
gboolean manifest_parse_number(ManifestToken token, guint base, guint64 max, guint32 *ret_value);

/* "file", "dir", ...: *ret_type is an S_IF... value. */
gboolean manifest_parse_type(ManifestToken token, guint32 *ret_type);

/* "-12.000000034": seconds and nanoseconds of a timespec, so minus twelve seconds and a bit more.
 */
gboolean manifest_parse_time(ManifestToken token, gint64 *ret_seconds, guint32 *ret_nsec);

/* "native,MAJOR,MINOR", within Linux's 12 and 20 bits. */
gboolean manifest_parse_device(ManifestToken token, guint32 *ret_major, guint32 *ret_minor);

/* Strict base64 (RFC 4648): padded, and no stray bits at the end, so that a value has one spelling.
 * NUL-terminated beyond its size. Caller frees. */
guint8 *manifest_decode_base64(ManifestToken token, gsize *ret_size);

/* Decodes "./usr/bin/env" (or ".") to "usr/bin/env" (or "") in @path of PATH_MAX bytes. INVALID. */
gboolean manifest_parse_path(ManifestToken token, char *path, gsize *ret_size, GError **error);
