/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Adding to the store through Nix's worker protocol, which takes an archive as a stream: nothing
 * has to lie on the disk as a tree first, and what was added is a temporary GC root for as long as
 * the connection is open. The other end is `nix-daemon --stdio`, which works on the store itself
 * where we may, and else passes all on to the daemon.
 * Source: Nix's src/libstore/daemon.cc and worker-protocol.hh; version 1.25, of Nix 2.4 and later.
 */
#pragma once

#include <glib.h>

typedef struct NixWorker NixWorker;

/* Starts the program, which is looked for beside the setting `nix_store`, and greets it. Any error
 * means that this way is not to be had here; the store's own is still untouched. */
NixWorker *nix_worker_open(GError **error);

/* Ends the program; takes NULL. */
void nix_worker_close(NixWorker *worker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NixWorker, nix_worker_close)

/* One addition: what is written between the two is the NAR of the path called @name (it passed
 * store_name_is_valid()), added as store_add() does. nix_worker_end_add() returns the store path.
 * After an error, of these or of whoever makes the archive, the worker is to be closed. */
gboolean nix_worker_begin_add(NixWorker *worker, const char *name, GError **error);
gboolean nix_worker_write(NixWorker *worker, const void *data, gsize size, GError **error);
char *nix_worker_end_add(NixWorker *worker, GError **error);
