/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the kernel's FUSE protocol (include/uapi/linux/fuse.h) has gained since the oldest headers
 * that we build with. Numbers of the kernel's interface, for kernels that know them.
 */
#pragma once

#include <linux/fuse.h>

/* 6.9: requests that a server died with are given out again. */
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#define PROTOCOL_NOTIFY_RESEND 7
