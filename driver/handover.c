/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"
#include "handover.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

typedef struct {
  char byte; /* a stream carries no control data without data */
  struct iovec part;
  union {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr header;
} HandoverMessage;

static void
handover_prepare(HandoverMessage *message)
{
  *message = (HandoverMessage){.byte = 'm'};
  message->part = (struct iovec){.iov_base = &message->byte, .iov_len = 1};
  message->header = (struct msghdr){.msg_iov = &message->part,
                                    .msg_iovlen = 1,
                                    .msg_control = message->control.bytes,
                                    .msg_controllen = sizeof message->control.bytes};
}

gboolean
handover_send(int socket_fd, int fd)
{
  HandoverMessage message;
  gssize size;

  handover_prepare(&message);
  struct cmsghdr *control = CMSG_FIRSTHDR(&message.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(control), &fd, sizeof fd);
  do
    size = sendmsg(socket_fd, &message.header, MSG_NOSIGNAL);
  while (size < 0 && errno == EINTR);
  return size == 1;
}

int
handover_receive(int socket_fd)
{
  HandoverMessage message;
  gssize size;
  int fd = -1;

  handover_prepare(&message);
  do
    size = recvmsg(socket_fd, &message.header, MSG_CMSG_CLOEXEC);
  while (size < 0 && errno == EINTR);
  const struct cmsghdr *control = size == 1 ? CMSG_FIRSTHDR(&message.header) : NULL;
  if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
      control->cmsg_len == CMSG_LEN(sizeof fd))
    memcpy(&fd, CMSG_DATA(control), sizeof fd);
  return fd;
}
