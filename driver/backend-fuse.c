/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode fuse: the index and the store's files as a FUSE filesystem, which one process serves for all
 * containers of the image.
 */
#include "config.h"

#include "backend.h"

#include <string.h>

#include "assembly.h"
#include "fuseserver.h"
#include "mountapi.h"
#include "settings.h"
#include "util.h"

typedef struct {
  FuseserverImage image;
  int first_fd; /* as long as it is open, the server stays */
  gboolean is_used;
} FuseSource;

static int
fuse_open_index(void *data, GError **error)
{
  FuseSource *source = data;

  if (source->is_used)
    return fuseserver_mount(&source->image, FALSE, error);
  source->is_used = TRUE;
  int fd = fcntl(source->first_fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    util_error_errno(error, "duplicate the descriptor of a mount");
  return fd;
}

gboolean
backend_fuse_check(const MountPlan *plan, GError **error)
{
  return !mountapi_is_disabled("fuse") ||
         util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "mode fuse is disabled");
}

int
backend_fuse_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error)
{
  FuseSource source = {
      .image = {.index_fd = index_fd, .data = plan->data, .uids = plan->uids, .gids = plan->gids},
  };
  const AssemblyIndex index = {.open = fuse_open_index, .data = &source, .is_whole = TRUE};
  const Settings *settings = settings_get(error);
  autofd int first_fd = -1;

  if (!settings)
    return -1;
  source.image.passthrough = strcmp(settings->fuse_passthrough, "true") == 0;
  /* Before the assembly goes through mount namespaces, in which a server would be caught. */
  if (plan->index != PLAN_INDEX_NONE) {
    first_fd = fuseserver_mount(&source.image, TRUE, error);
    if (first_fd < 0)
      return -1;
  }
  source.first_fd = first_fd;
  return assembly_create(plan, &index, ret_way, error);
}
