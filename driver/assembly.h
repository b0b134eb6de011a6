/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From a plan and an index to one detached mount, by whichever sequence of calls the kernel takes:
 * what the backends that end in the kernel's overlayfs have in common. Stands on plan, overlay,
 * mountapi, idmap and util.
 */
#pragma once

#include "plan.h"

/* Opens a detached mount of the index for an assembly; may be called again for another attempt. */
typedef int (*AssemblyOpenIndex) (void *data, GError **error);

/* Mounts @plan on @target_fd. @open_index gives the index's mount when the plan has one. UNSUPPORTED
 * when no way works. */
gboolean assembly_mount (const MountPlan *plan, AssemblyOpenIndex open_index, void *data, int target_fd,
                         GError **error);
