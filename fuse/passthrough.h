/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Passthrough: the kernel reads a file of the mount from the store's own file by itself, so that
 * both have one page cache (Documentation/filesystems/fuse-passthrough.rst). The store's file is
 * registered with the connection, and each answer to OPEN names it by number. Stands on channel and
 * data. Part of the request path: errors are negative errnos.
 *
 * The kernel wants the same number for a file as long as anybody has that file open, and numbers
 * are the connection's: a server that takes over must know them. So they are kept in memory that
 * outlives a server, and that is right at each moment at which one may be killed: a number is in
 * there before an answer names it, and an open file counts from before its OPEN is answered until
 * after its RELEASE was. What a kill leaves behind is therefore a number too many (its file stays
 * registered until the connection ends), never one too few.
 */
#pragma once

#include "channel.h"
#include "data.h"

typedef struct Passthrough Passthrough;

/* Makes the memory, in the keeper. */
Passthrough *passthrough_new(const Channel *channel, GError **error);
void passthrough_free(Passthrough *passthrough);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Passthrough, passthrough_free)

/* Takes over what earlier servers registered; each server does so first, before it has threads. */
void passthrough_start(Passthrough *passthrough);

/* Counts @nid as opened once more and returns its number. 0: nothing is counted, this file is read
 * through the server, always: it has no content of its own, or is on a filesystem that the kernel
 * does not take. -ENFILE when more than PASSTHROUGH_MAX_FILES are open at the same time. */
int passthrough_open(Passthrough *passthrough, const Index *index, Data *data, guint64 nid);
/* Undoes one passthrough_open() that returned a number. */
void passthrough_close(Passthrough *passthrough, guint64 nid);

#define PASSTHROUGH_MAX_FILES 65536

/* Why others cannot have it. */
#define PASSTHROUGH_NEEDS_ROOT "the kernel allows it to root of the host alone"

/* Whether the kernel takes the files of @data on @channel, where passthrough was agreed on: tried
 * with one. UNSUPPORTED with the reason why not. */
gboolean passthrough_try(const Channel *channel, const Data *data, GError **error);
