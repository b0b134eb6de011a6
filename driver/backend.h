/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ways to carry out a mount plan: one row of a table each. Stands on plan, overlay, mountapi, loop,
 * idmap and util.
 */
#pragma once

#include "plan.h"

typedef struct {
  const char *mode;
  /* Whether plans for it go through an index (plan_new()). */
  gboolean uses_index;
  /* Whether `auto` may choose it: it shows the ownership that the image's author set. */
  gboolean is_faithful;
  /* Mounts @plan on the directory @target_fd (opened O_PATH) as the very last step, so that failure at
   * any earlier point leaves nothing. @index_fd: the index as a regular file, -1 when the plan
   * needs none. UNSUPPORTED where another mode may still do. */
  gboolean (*mount) (const MountPlan *plan, int index_fd, int target_fd, GError **error);
} Backend;

/* The rows, best first; *ret_count of them. */
const Backend *backend_list (gsize *ret_count);

/* The row for @mode, NULL with INVALID for a mode that does not exist. */
const Backend *backend_find (const char *mode, GError **error);

gboolean backend_erofs_mount (const MountPlan *plan, int index_fd, int target_fd, GError **error);
gboolean backend_fuse_mount(const MountPlan *plan, int index_fd, int target_fd, GError **error);
gboolean backend_bind_mount (const MountPlan *plan, int index_fd, int target_fd, GError **error);
