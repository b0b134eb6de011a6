/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One descriptor from process to process over a Unix socket: SCM_RIGHTS, unix(7). Stands on util.
 */
#pragma once

#include <glib.h>

/* Sends @fd over the connection @socket_fd, together with one byte. errno on failure (EPIPE, not
 * SIGPIPE, where the peer has gone). */
gboolean handover_send(int socket_fd, int fd);

/* Takes a descriptor, close-on-exec, from the connection @socket_fd; the caller's. -1 where none
 * comes: the peer has gone, its answer holds none, or SO_RCVTIMEO is over. */
int handover_receive(int socket_fd);
