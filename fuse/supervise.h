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
  /* Hands the first mount over and closes it. Called as soon as there is a server: whoever has the
   * mount waits for nobody but it. */
  gboolean (*deliver)(gpointer delivery, GError **error);
  /* Called in each server's process, which must not hold a mount of its own filesystem: closes what
   * deliver() needs. */
  void (*forget)(gpointer delivery);
  gpointer delivery;
} Supervision;

/* Serves until the filesystem is unmounted. FALSE when it could not begin, or a server was lost for
 * good; before the mount is delivered the socket is abandoned, later it is closed. */
gboolean supervise_run(const Supervision *supervision, GError **error);
