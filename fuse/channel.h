/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The kernel's side of a FUSE connection: /dev/fuse, mounts of it, and what is agreed with the
 * kernel at the start (Documentation/filesystems/fuse.rst, include/uapi/linux/fuse.h). Stands on
 * driver/mountapi and util.
 *
 * The agreement (FUSE_INIT) is made here and not by libfuse, for two reasons: a server that takes
 * over from a dead one never sees it, so it had better not depend on it; and it holds flags that
 * older libfuse does not know.
 */
#pragma once

#include <glib.h>

typedef struct {
  int device;          /* /dev/fuse */
  guint32 minor;       /* of the protocol; 0: nothing agreed yet */
  gboolean can_resend; /* FUSE_NOTIFY_RESEND works */
  gboolean can_pass;   /* FUSE_PASSTHROUGH was agreed on: channel_register() may work */
} Channel;
#define CHANNEL_INIT                                                                               \
  {                                                                                                \
    .device = -1                                                                                   \
  }

/* Opens /dev/fuse. */
gboolean channel_open(Channel *channel, GError **error);

/* A detached, read-only mount of the channel's filesystem, which the first call creates; it needs
 * CAP_SYS_ADMIN in the user namespace. NOT_FOUND once the last mount is gone: a filesystem does not
 * come back. */
int channel_mount(const Channel *channel, GError **error);

/* What is asked of the kernel beyond what every connection wants. */
typedef struct {
  gboolean acls;        /* to ask for POSIX ACLs and to obey them */
  gboolean passthrough; /* to read from registered files by itself */
} ChannelWishes;

/* Takes the kernel's greeting, which comes with the first mount, and answers it. */
gboolean channel_agree(Channel *channel, const ChannelWishes *wishes, GError **error);

/* Registers the regular file @fd, so that an answer to OPEN may name it: returns the number that it
 * then has, which is the connection's and not this process's, or a negative errno. -EPERM: the
 * kernel does it for CAP_SYS_ADMIN of the initial user namespace alone; -ELOOP: the file is on a
 * stacked filesystem, as overlayfs. */
int channel_register(const Channel *channel, int fd);
/* Takes the number back. Who has the file open, or mapped, keeps it. */
void channel_unregister(const Channel *channel, int id);

/* Gives the connection up: mounts of it are dead. */
void channel_close(Channel *channel);

/* Whether the last mount is gone. */
gboolean channel_has_ended(const Channel *channel);

/* Another descriptor through which requests can be taken; -1 with errno. What was taken through it
 * and is unanswered when its last holder closes it ends with ECONNABORTED. */
int channel_clone(const Channel *channel);

/* Has the kernel give out again every request that was taken and not answered. Whoever took them
 * must be dead. */
gboolean channel_resend(const Channel *channel);

/* Asks for @bytes of read-ahead on the filesystem of @mount_fd instead of the kernel's 128 KiB,
 * where this process may (the host's root). Sends no request. */
void channel_set_readahead(int mount_fd, gsize bytes);
