/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keeps a server running: a tiny process that holds the descriptors of /dev/fuse and starts a new
 * server on them whenever one dies. Stands on serve, share and util.
 *
 * Where the kernel gives requests out again (6.9), it holds every clone, so that nothing in flight
 * is aborted, and asks for it: who waits for the filesystem notices nothing. Before that, the
 * clones belong to the server alone: what it had taken ends with an error when it dies, which is
 * better than the hang that it would be otherwise, and what comes later works.
 */
#pragma once

#include "serve.h"
#include "share.h"

typedef struct {
  const Channel *channel;
  Server *server;
  Share *share;       /* or one that is not open */
  const char *target; /* detached on SIGTERM and SIGINT; NULL: they are ignored */
  guint threads;      /* of a server */
} Supervision;

/* Serves until the filesystem is unmounted; in the end a server was lost for good when FALSE. */
gboolean supervise_run(const Supervision *supervision, GError **error);
