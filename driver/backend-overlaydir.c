/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode overlaydir: a directory of metadata inodes above the store's own files as data-only layer,
 * in a user namespace.
 */
#include "config.h"

#include "backend.h"

#include "assembly.h"
#include "mountapi.h"
#include "overlaydir.h"
#include "settings.h"
#include "util.h"

static int
overlaydir_open_index(void *data, GError **error)
{
  const MountPlan *plan = data;
  autofd int fd = overlaydir_open(plan->overlaydir, error);

  return fd < 0 ? -1 : mountapi_clone(fd, error);
}

gboolean
backend_overlaydir_check(const MountPlan *plan, GError **error)
{
  if (mountapi_is_disabled("overlaydir"))
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "mode overlaydir is disabled");
  /* Whoever is root in a container of root's could set the xattrs that are obeyed here. */
  if (settings_process_is_root())
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "mode overlaydir is for user namespaces: root has erofs");
  if (!plan->overlaydir)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "mode overlaydir needs one image at the bottom of all layers");
  return TRUE;
}

gboolean
backend_overlaydir_prepare(const MountPlan *plan, int index_fd, gboolean wait, GError **error)
{
  return plan->index == PLAN_INDEX_NONE ||
         overlaydir_make(plan->overlaydir, plan->overlaydir_aside, index_fd, plan->uids, plan->gids,
                         wait, error);
}

int
backend_overlaydir_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error)
{
  const AssemblyIndex index = {
      .open = overlaydir_open_index, .data = (void *)plan, .is_mapped = TRUE};

  /* Before all the ways are tried in vain. */
  autofd int fd = plan->index == PLAN_INDEX_NONE ? -1 : overlaydir_open(plan->overlaydir, error);
  if (fd < 0 && plan->index != PLAN_INDEX_NONE)
    return -1;
  return assembly_create(plan, &index, ret_way, error);
}
