/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode erofs: the index as an EROFS mount above the store's own files as data-only layer.
 */
#include "config.h"

#include "backend.h"

#include <stdio.h>
#include <sys/mount.h>

#include "assembly.h"
#include "loop.h"
#include "mountapi.h"
#include "settings.h"
#include "util.h"

typedef struct {
  int index_fd;
  gboolean by_loop;
  gboolean file_failed; /* set: there is no mounting it from its file */
  gboolean is_denied;   /* set: nor from anything else, for us */
} ErofsSource;

static int
erofs_mount_source(const char *source, GError **error)
{
  autofd int fs = mountapi_open_fs("erofs", error);

  if (fs < 0 || !mountapi_set_string(fs, "source", source, error) ||
      !mountapi_set_flag(fs, "ro", error))
    return -1;
  return mountapi_create(fs, MOUNT_ATTR_RDONLY, error);
}

/* Prefixes the error of erofs_mount_source() with @what. Where it is denied to us, as in a
 * container without the privilege, another mode may do. */
static int
erofs_explain(ErofsSource *source, const char *what, GError **error)
{
  if (errno == EPERM) {
    source->is_denied = TRUE;
    g_clear_error(error);
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "mount the index from %s: %s", what,
               g_strerror(EPERM));
  } else {
    g_prefix_error(error, "mount the index from %s: ", what);
  }
  return -1;
}

static int
erofs_open_index(void *data, GError **error)
{
  ErofsSource *source = data;
  char name[LOOP_NAME_SIZE];
  int fd;

  if (!source->by_loop) {
    snprintf(name, sizeof name, "/proc/self/fd/%d", source->index_fd);
    fd = erofs_mount_source(name, error);
    source->file_failed = fd < 0;
    return fd < 0 ? erofs_explain(source, "its file", error) : fd;
  }
  autofd int device = loop_attach(source->index_fd, name, error);
  if (device < 0)
    return -1;
  fd = erofs_mount_source(name, error);
  return fd < 0 ? erofs_explain(source, name, error) : fd;
}

gboolean
backend_erofs_check(const MountPlan *plan, GError **error)
{
  if (mountapi_is_disabled("erofs"))
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "EROFS is disabled");
  return settings_process_is_root() ||
         util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                    "mode erofs needs to be root, and not only in a user namespace");
}

int
backend_erofs_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error)
{
  g_autoptr(GError) local = NULL;
  ErofsSource source = {index_fd, mountapi_is_disabled("erofs-file")};
  const AssemblyIndex index = {.open = erofs_open_index, .data = &source};

  /* From a file where that works; else (no EROFS on files before 6.12, none on tmpfs or overlayfs,
   * a limit on stacked filesystems) from a loop device. */
  int fd = assembly_create(plan, &index, ret_way, &local);
  if (fd >= 0)
    return fd;
  if (source.by_loop || source.is_denied || plan->index == PLAN_INDEX_NONE ||
      !g_error_matches(local, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED)) {
    g_propagate_error(error, g_steal_pointer(&local));
    return -1;
  }
  source.by_loop = TRUE;
  GError *by_loop = NULL;
  fd = assembly_create(plan, &index, ret_way, &by_loop);
  if (fd >= 0)
    return fd;
  /* Where the file could be mounted, its error says what is really wrong. */
  if (!source.file_failed)
    g_clear_error(&by_loop);
  else if (g_error_matches(by_loop, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED))
    g_prefix_error(&by_loop, "%s; ", local->message);
  g_propagate_error(error, by_loop ? by_loop : g_steal_pointer(&local));
  return -1;
}
