/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The handlers of libfuse's low-level API. Stands on serve's Server. They answer with errno values
 * and allocate nothing themselves.
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>

#include "serve.h"

/* The largest xattr and what mapping its ids adds; larger reads are spliced. */
#define REQUESTS_REPLY_SIZE (68 * 1024)

/* A session's user data: what a thread has for itself. */
typedef struct {
  const Server *server;
  char *reply;            /* REQUESTS_REPLY_SIZE */
  pthread_mutex_t *baton; /* held by this thread, as nobody else takes requests; or NULL */
} RequestContext;

const struct fuse_lowlevel_ops *requests_operations(void);

/* For the handlers' own files. */
RequestContext *request_context(fuse_req_t req);
/* Another thread is to take the next request, as for this one a disk may have to be waited for. */
void request_let_go(RequestContext *context);
const Server *request_server(fuse_req_t req);
/* FUSE's root has the number 1 and none has 0; nids may be either. */
guint64 request_nid(const Server *server, fuse_ino_t ino);
/* What the caller of a system call is told: a corrupt index is an input/output error. @error is a
 * negative errno. */
void request_fail(fuse_req_t req, int error);

/* In requests-xattr.c. */
void request_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void request_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
/* Whether overlayfs would obey the xattr @name of a layer. Nothing that we serve has one: an
 * image's xattrs of that kind show under their escaped names. */
gboolean request_is_overlay_xattr(const char *name);
