/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The handlers of libfuse's low-level API. Stands on serve's Server. They answer with errno values
 * and allocate nothing themselves.
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "serve.h"

/* The largest xattr and what mapping its ids adds; larger reads are spliced. */
#define REQUESTS_REPLY_SIZE (68 * 1024)

/* A session's user data: what a thread has for itself. */
typedef struct {
  const Server *server;
  char *reply; /* REQUESTS_REPLY_SIZE */
} RequestContext;

const struct fuse_lowlevel_ops *requests_operations(void);
