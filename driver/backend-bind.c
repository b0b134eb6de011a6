/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode bind: the store's files as they are, owned by whom the store says.
 */
#include "config.h"

#include "assembly.h"
#include "backend.h"

int
backend_bind_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error)
{
  return assembly_create(plan, NULL, ret_way, error);
}
