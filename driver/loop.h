/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Loop devices (loop(4)), for kernels or directories where EROFS cannot be mounted from a file.
 * Stands on util.
 */
#pragma once

#include <glib.h>

/* Room for "/dev/loop<n>" in any case. */
#define LOOP_NAME_SIZE 32

/* Attaches the regular file @file_fd read-only to a free loop device and returns the device open,
 * its name in @name. The device clears itself at its last close: the mount made from it, or the
 * returned descriptor. UNSUPPORTED where there are no loop devices for us. */
int loop_attach(int file_fd, char name[LOOP_NAME_SIZE], GError **error);
