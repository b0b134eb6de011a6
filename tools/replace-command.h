/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What `nixstore convert --replace` does and prints: for one image, for those that were pulled, and
 * whenever one is. Stands on replace, failures and follow.
 */
#pragma once

#include <glib.h>

typedef struct {
  const char *name; /* the name part of the store path; NULL: made of the image's */
  guint64 max_size; /* as in SourceOptions */
  gboolean json;
} ReplaceOptions;

/* Replaces @image, whether it failed before or not. */
gboolean replace_named(const char *image, const ReplaceOptions *options, GError **error);

/* Replaces all images that were pulled, but for those that failed before. One that cannot be
 * replaced is no reason to leave the others: a note says so, and the error at the end counts them.
 */
gboolean replace_pulled(const ReplaceOptions *options, GError **error);

/* That whenever Podman's list of images changes, until standard input ends; nothing unless the
 * setting asks for it. What the storage driver starts when it unpacks a layer. */
gboolean replace_follow(const ReplaceOptions *options, GError **error);
