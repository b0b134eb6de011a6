/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The names by which a layer says that something of the layers below is gone: the OCI image spec's
 * layer.md
 * ("Whiteouts"), after AUFS. Stands on nothing.
 */
#pragma once

/* Before the name of what is gone. */
#define WHITEOUT_PREFIX ".wh."
/* In a directory of which nothing below shows. */
#define WHITEOUT_OPAQUE ".wh..wh..opq"
/* Before AUFS's own bookkeeping, which is nobody's file. */
#define WHITEOUT_META_PREFIX ".wh..wh."
