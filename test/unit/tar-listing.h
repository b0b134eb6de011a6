/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All that the reader says of an archive, as a text; test/fuzz/tar-judge.go writes the same.
 */
#pragma once

#include "tar-reader.h"

/* Larger files are not read, and only the start of others is shown. */
#define TAR_LISTING_READ_MAX (1024 * 1024)
#define TAR_LISTING_SHOW_MAX 100

/* Appends a line an entry to @text: type, name, target, mode, owner, time; the device number or the
 * content (zeros as dots); xattrs by name. @read: the content of files is read, otherwise skipped.
 */
gboolean tar_listing_append(GString *text, TarReader *reader, gboolean read, GError **error);
