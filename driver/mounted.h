/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Targets that are mounted already. containers/storage, which takes only FUSE for mounted, asks for
 * a mount again while it is there: an upper must not be mounted twice, so the target gets a clone
 * of what it has. Stands on mountapi, plan, stack and util.
 */
#pragma once

#include "plan.h"
#include "stack.h"

/* The name under which the plan's overlay is mounted: "nixstore:" and a digest of what makes two
 * mounts the same, the upper or, read-only, the layers and mappings. Only root can give a mount its
 * name. */
char *mounted_describe(const MountPlan *plan, const Stack *stack);

/* When what @plan describes is what is mounted on @target_fd, mounts it there once more and sets
 * *ret_done. */
gboolean mounted_clone(const MountPlan *plan, int target_fd, gboolean *ret_done, GError **error);
