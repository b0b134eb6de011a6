/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Work that is to be done again whenever a file changes.
 */
#pragma once

#include <glib.h>

typedef void (*FollowWork)(gpointer data);

/* Calls @work each time the file @path (which need not be there, but its directory) has changed and
 * was then left alone for some seconds, until standard input ends, and once more at that moment.
 * Whoever starts the process gives it the end of a pipe of which nobody else has the other: then
 * that end is its own death, however it dies. */
gboolean follow_file(const char *path, FollowWork work, gpointer data, GError **error);
