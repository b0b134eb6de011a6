/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One run of nixstore-mount from option string to mount: what main() does, without its command
 * line. Stands on all of the mount modules.
 */
#pragma once

#include <glib.h>

/* The name of the link, beside a reference layer's `diff`, that keeps its store path from being
 * collected. */
#define SESSION_GC_LINK "nixstore-gcroot"

/* The name of the link beside it to the index that the path was last shown through, in the cache.
 * The driver for Podman compares with that, as a mount of its own
 * (contrib/podman/nixstore/diff.go). It is only there if the last mode showed the owners and modes
 * of the index. */
#define SESSION_INDEX_LINK "nixstore-index"

/* Mounts what @option_string says on @target. @mode: a backend's or "auto". Failure leaves nothing
 * mounted. A target where the same stack is mounted already gets a further mount of that. */
gboolean session_mount(const char *option_string, const char *mode, const char *target,
                       GError **error);
