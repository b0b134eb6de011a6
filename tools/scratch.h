/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Directories for what a command makes on its way, and their removal whatever ends the command:
 * return, error, SIGINT, SIGTERM, SIGHUP.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *path; /* absolute */
  int fd;     /* the directory */
} Scratch;

/* A new directory, mode 0700, under $TMPDIR or /var/tmp. */
Scratch *scratch_new(GError **error);

/* Removes the directory and all beneath it. */
void scratch_free(Scratch *scratch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scratch, scratch_free)

/* From here on SIGINT, SIGTERM and SIGHUP remove every scratch directory there is and then end the
 * process as the signal would have. Called once, by main(), before there are threads. Children that
 * are started without store.h's or podman.h's functions must unblock these signals themselves
 * (scratch_child_setup() is a GSpawnChildSetupFunc that does). */
void scratch_guard_signals(void);

/* For g_spawn_*(): unblocks the guarded signals and has the kernel end the child with us. */
void scratch_child_setup(void *unused);

/* Called by main() before it exits: waits for good if a signal is being dealt with. */
void scratch_finish(void);
