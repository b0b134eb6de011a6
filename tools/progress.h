/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A progress bar on standard error, where that is a terminal and --quiet was not given; otherwise
 * nothing. Any thread may call progress_set(); the rest is one thread's.
 */
#pragma once

#include <glib.h>

typedef struct Progress Progress;

/* Starts a bar. @label ("applying layers") must outlive it. Never NULL. */
Progress *progress_new(const char *label);

/* Whether anybody sees it: what is asked for its sake alone need not be. */
gboolean progress_is_shown(const Progress *progress);

/* @done of @total bytes are through; @total 0: not known, the bar shows the bytes alone. Cheap
 * enough for each block that is read: draws ten times a second at most. */
void progress_set(Progress *progress, guint64 done, guint64 total);

/* Takes the bar off the terminal. Takes NULL. */
void progress_free(Progress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)
