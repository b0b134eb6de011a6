/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the kernel's FUSE protocol (include/uapi/linux/fuse.h) has gained since the oldest headers
 * that we build with. Numbers of the kernel's interface, for kernels that know them.
 */
#pragma once

#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* 6.9: requests that a server died with are given out again. */
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#define PROTOCOL_NOTIFY_RESEND 7

/* 6.9: the kernel reads files by itself, from others that were registered with the connection. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#define PROTOCOL_OPEN_PASSTHROUGH (1U << 7)
/* What follows flags2 in struct fuse_init_out, which older headers call unused. */
#define PROTOCOL_INIT_STACK_DEPTH (offsetof(struct fuse_init_out, flags2) + 4)

/* struct fuse_backing_map. */
typedef struct {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
} ProtocolBackingMap;
#define PROTOCOL_IOC_BACKING_OPEN _IOW(229, 1, ProtocolBackingMap)
#define PROTOCOL_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* struct fuse_open_out. */
typedef struct {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
} ProtocolOpenOut;
