/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What an upper needs before it is mounted: a lock, and the first time more. With a mount program,
 * containers/storage's overlay driver unpacks layers with AUFS's whiteouts (".wh." names), and
 * mounts such a layer as an upper to compare it with its parent (NaiveDiff). Stands on plan, stack
 * and util.
 */
#pragma once

#include "plan.h"

/* Waits for an exclusive flock(2) on the upper @path, which goes with the returned descriptor.
 * Whoever mounts an upper holds it from before he looks at the target until that is mounted:
 * overlayfs mounts an upper twice if it is told to, and calls the result undefined
 * (Documentation/filesystems/overlayfs.rst, "Sharing and copying layers"). */
int upper_lock(const char *path, GError **error);

/* Whether the plan has an upper that was never mounted: what was may have been changed in a
 * container. */
gboolean upper_is_fresh(const MountPlan *plan);

/* Turns the ".wh." names of the plan's fresh upper into overlayfs's own whiteouts and opaque marks,
 * in place: if it is a layer of the home that we were called in (a user's directory keeps its
 * names). Directories keep their times. Killed half way, it goes on at the next mount. */
gboolean upper_translate_whiteouts(const MountPlan *plan, GError **error);
