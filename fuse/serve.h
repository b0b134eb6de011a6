/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Answers the kernel's requests out of an index and its data, with libfuse's low-level API. Stands
 * on channel, data, ids and driver/index.
 *
 * Nothing is kept between requests but open descriptors as a cache: a node ID is an index's nid
 * and no OPEN or OPENDIR is ever answered, so a server can take over from another at any moment.
 * (With passthrough OPEN is; passthrough.h has what that takes.)
 * The kernel is told to keep whatever it was told for ever: an index never changes.
 */
#pragma once

#include "ahead.h"
#include "channel.h"
#include "data.h"
#include "ids.h"
#include "passthrough.h"

/* Messages by opcode, in memory that outlives a server; the tests count with it. */
#define SERVE_COUNTERS 64

typedef struct {
  const Index *index;
  guint64 index_blocks; /* of 4096 bytes: the size of its file */
  Data *data;
  Ahead *ahead;             /* or NULL; serve_run() sets it, as threads do not outlive a fork */
  Passthrough *passthrough; /* or NULL: no OPEN is answered */
  Ids ids;
  guint64 *counters;  /* SERVE_COUNTERS of them, or NULL */
  gboolean is_broken; /* answer all with EIO: the index cannot be read without dying of it */
} Server;

/* Serves through the @n_fds descriptors (clones of @channel's), one thread each, until the
 * filesystem is unmounted. FALSE with @error when serving failed. */
gboolean serve_run(Server *server, const Channel *channel, const int *fds, gsize n_fds,
                   GError **error);

/* What one of these threads has; by itself for the fuzzer, which has no kernel. */
typedef struct Worker Worker;

/* Its answers are written to @fd, which a libfuse session then owns. */
Worker *serve_worker_new(const Server *server, const Channel *channel, int fd, GError **error);
void serve_worker_free(Worker *worker);

/* Answers the @size bytes of @request as the kernel sends them: trusted to have the form that their
 * opcode wants, and nothing else. */
void serve_worker_answer(Worker *worker, const void *request, gsize size);
