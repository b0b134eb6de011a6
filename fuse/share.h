/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One server for all mounts of an image: a socket where whoever is the same user gets a further
 * mount of the filesystem, as a descriptor (unix(7), SCM_RIGHTS). The other end of it is
 * driver/fuseserver. Stands on channel, handover and util.
 *
 * A mount that is handed out counts for the kernel alone: when the last one is gone, wherever it
 * went (into overlays, other namespaces, nowhere), the filesystem ends, and the server with it.
 * There is nothing to be told and nothing to be forgotten.
 *
 * Lock rule: a socket is made while the one who starts the server holds an exclusive flock(2) on
 * its directory, and removed under the same lock. So who holds the lock and finds a socket that
 * takes no connection may replace it.
 */
#pragma once

#include "channel.h"

typedef struct {
  int directory; /* the socket's; -1: not shared */
  int listener;  /* -1: not shared, or not any more */
  char *name;    /* in the directory */
  dev_t device;  /* of the socket's inode, so that only our own is removed */
  ino_t inode;
  struct timespec made; /* the number of an inode may come again */
} Share;
#define SHARE_INIT                                                                                 \
  {                                                                                                \
    .directory = -1, .listener = -1                                                                \
  }

/* Listens at @path, replacing what is there. */
gboolean share_open(Share *share, const char *path, GError **error);

/* Takes one connection and answers it with a new mount of @channel, or with nothing. */
void share_answer(const Share *share, const Channel *channel);

/* Stops listening; in a process that is not the one to clean up. */
void share_forget(Share *share);

/* Gives no further mounts: whoever asks starts another server, whose socket replaces ours. Takes no
 * lock; share_close() is still to be called. */
void share_retire(Share *share);

/* Stops listening and removes the socket, if it is still ours. Takes the lock. */
void share_close(Share *share);

/* The same for a server that could not start: who starts it holds the lock and waits for it. */
void share_abandon(Share *share);
