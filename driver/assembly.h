/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From a plan and an index to one detached mount, by whichever sequence of calls the kernel takes:
 * what the backends that end in the kernel's overlayfs have in common. Stands on plan, overlay,
 * mountapi, idmap and util.
 */
#pragma once

#include "plan.h"

/* How a plan's index comes to be mounted. */
typedef struct {
  /* Opens a detached mount of the index; may be called again for another attempt, but not after it
   * failed: then that is all. */
  int (*open)(void *data, GError **error);
  void *data;
  /* The mount shows contents and mapped ids by itself: no data layers, no idmapped mount. */
  gboolean is_whole;
  /* Its inodes have mapped ids: no idmapped mount. */
  gboolean is_mapped;
} AssemblyIndex;

/* A detached mount of what @plan says. @index may be NULL when the plan has none. *ret_way is the
 * name of the way that worked, a constant: "one-step", "detached-layers", ... UNSUPPORTED when none
 * does. */
int assembly_create(const MountPlan *plan, const AssemblyIndex *index, const char **ret_way,
                    GError **error);
