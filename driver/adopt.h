/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The root directory's owner, mode and xattrs. overlayfs takes those of `/` from the upper, and
 * containers/storage makes a new upper after the raw directory of the layer below, which says
 * nothing of the image for a reference layer (0555 root:root). Stands on idmap, index, overlay,
 * plan and util.
 */
#pragma once

#include "plan.h"

/* Gives what the root directory of the index @index_fd has to the plan's upper, which is fresh
 * (upper.h), if it stands directly on the index; and to the layer directory @layer_fd (-1: none),
 * so that what is made from it later inherits it. */
gboolean adopt_root(const MountPlan *plan, int index_fd, int layer_fd, GError **error);
