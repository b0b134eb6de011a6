/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode bind: the store's files as they are, owned by whom the store says.
 */
#include "config.h"

#include "assembly.h"
#include "backend.h"

gboolean
backend_bind_mount(const MountPlan *plan, int index_fd, int target_fd, GError **error)
{
  return assembly_mount(plan, NULL, target_fd, error);
}
