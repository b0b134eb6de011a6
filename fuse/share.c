/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "share.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "handover.h"
#include "util.h"

static gboolean
share_bind(Share *share, GError **error)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat st;
  int length;

  if (unlinkat(share->directory, share->name, 0) < 0 && errno != ENOENT)
    return util_error_errno(error, "remove the stale socket %s", share->name);
  /* By way of the directory's descriptor: a path of any length fits. */
  length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
                    share->directory, share->name);
  if (length < 0 || (gsize)length >= sizeof address.sun_path)
    return util_error(error, NIXSTORE_ERROR_INVALID, "the socket's name %s is too long",
                      share->name);
  share->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (share->listener < 0 ||
      bind(share->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
      fstatat(share->directory, share->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
      listen(share->listener, 64) < 0)
    return util_error_errno(error, "listen at the socket %s", share->name);
  share->device = st.st_dev;
  share->inode = st.st_ino;
  share->made = st.st_mtim;
  return TRUE;
}

gboolean
share_open(Share *share, const char *path, GError **error)
{
  g_autofree char *directory = g_path_get_dirname(path);

  share->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (share->directory < 0)
    return util_error_errno(error, "open the directory %s", directory);
  share->name = g_path_get_basename(path);
  if (share_bind(share, error))
    return TRUE;
  share_forget(share);
  return FALSE;
}

void
share_answer(const Share *share, const Channel *channel)
{
  struct ucred peer;
  socklen_t size = sizeof peer;
  autofd int fd = accept4(share->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

  /* The directory's mode keeps others out already. */
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid())
    return;
  autofd int mount_fd = channel_mount(channel, NULL);
  if (mount_fd >= 0)
    handover_send(fd, mount_fd);
}

void
share_forget(Share *share)
{
  util_close_fd(&share->listener);
  util_close_fd(&share->directory);
  g_clear_pointer(&share->name, g_free);
}

static void
share_remove(const Share *share)
{
  struct stat st;

  if (fstatat(share->directory, share->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      st.st_dev == share->device && st.st_ino == share->inode &&
      st.st_mtim.tv_sec == share->made.tv_sec && st.st_mtim.tv_nsec == share->made.tv_nsec)
    unlinkat(share->directory, share->name, 0);
}

void
share_retire(Share *share)
{
  util_close_fd(&share->listener);
}

void
share_close(Share *share)
{
  if (share->directory < 0)
    return;
  /* First of all: who holds the lock may be waiting for our answer. */
  util_close_fd(&share->listener);
  if (flock(share->directory, LOCK_EX) == 0)
    share_remove(share);
  share_forget(share);
}

void
share_abandon(Share *share)
{
  if (share->listener >= 0)
    share_remove(share);
  share_forget(share);
}
