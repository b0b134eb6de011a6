/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Directories for what a command makes on its way, and their removal whatever ends the command:
 * return, error, SIGINT, SIGTERM, SIGHUP.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *path; /* absolute */
  int fd;     /* the directory, or the file, open for reading and writing */
} Scratch;

/* A new directory, mode 0700, under $TMPDIR or /var/tmp. Those that killed processes of ours have
 * left there go first: a lock, which ends with its process, tells them apart. */
Scratch *scratch_new(GError **error);

/* The same under the directory @parent. */
Scratch *scratch_new_in(const char *parent, GError **error);

/* The directories of killed processes of this user's in @parent, their paths. */
GPtrArray *scratch_list_stale(const char *parent);

/* Removes one of them, unless its lock has been taken since: then FALSE without an error. */
gboolean scratch_remove_stale(const char *path, GError **error);

/* A new file without a name, in the same place; returns its descriptor. No process leaves it there,
 * however it ends. */
int scratch_open_file(GError **error);

/* Removes the directory and all beneath it. */
void scratch_free(Scratch *scratch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scratch, scratch_free)

/* What is to become @destination (a file, or with @directory a directory): made empty beside it,
 * under a name of its own, with the mode that the umask gives. */
Scratch *scratch_new_beside(const char *destination, gboolean directory, GError **error);

/* Flushes a scratch of the kind above to the disk and renames it to @destination. From then on it
 * is no scratch: scratch_free() does not remove it. */
gboolean scratch_commit(Scratch *scratch, const char *destination, GError **error);

/* The same for what is to lie in @directory, which is there and stays the same directory: others
 * may be in it, or it be a mount point. The scratch is made within it. FAILED unless it is empty,
 * but for what killed processes of ours have left there. */
Scratch *scratch_new_within(const char *directory, GError **error);

/* Moves what is in a scratch of that kind up to @directory, in the order of the names. */
gboolean scratch_commit_within(Scratch *scratch, const char *directory, GError **error);

/* From here on SIGINT, SIGTERM and SIGHUP remove every scratch directory there is and then end the
 * process as the signal would have; SIGPIPE waits for scratch_finish(). Called once, by main(),
 * before there are threads. Children that are started without store.h's or podman.h's functions
 * must unblock these signals themselves (scratch_child_setup() is a GSpawnChildSetupFunc that
 * does). */
void scratch_guard_signals(void);

/* What stands between these two is done whole or fails: a signal is dealt with when it is through,
 * or after ten seconds. Not to be nested. */
void scratch_hold_signals(void);
void scratch_release_signals(void);

/* For g_spawn_*(): unblocks the guarded signals and has the kernel end the child with us. */
void scratch_child_setup(void *unused);

/* Called by main() when the work is done or has failed, before it says so: does not return if the
 * process is to end by a signal. */
void scratch_finish(void);
