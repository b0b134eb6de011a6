/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Work that a mount leaves for later. Stands on util.
 */
#pragma once

#include <glib.h>

typedef void (*BackgroundWork)(gpointer data);

/* Runs @work in a process of its own, which nobody waits for: a session of its own, nothing on its
 * standard descriptors, no others but @keep_fd (which stays the number that it is), at the lowest
 * priority, and a second later, when what the mount was for has started. @data is as at the call.
 * Returns at once; best effort. */
void background_run(BackgroundWork work, gpointer data, int keep_fd);
