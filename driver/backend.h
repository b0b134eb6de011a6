/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ways to carry out a mount plan: one row of a table each. Stands on plan, overlay, mountapi,
 * loop, idmap and util.
 */
#pragma once

#include "plan.h"

typedef struct {
  const char *mode;
  /* Whether plans for it go through an index (plan_new()). */
  gboolean uses_index;
  /* Whether `auto` may choose it: it shows the ownership that the image's author set. */
  gboolean is_faithful;
  /* Whether this process can show an index in this mode at all (UNSUPPORTED), asked before one is
   * compiled. NULL: always. */
  gboolean (*check)(const MountPlan *plan, GError **error);
  /* Carries out all of @plan but the last step and returns the detached mount, so that failure at
   * any point leaves nothing. @index_fd: the index as a regular file, -1 when the plan needs none.
   * *ret_way is the way that the kernel took (assembly.h). UNSUPPORTED where another mode may
   * still do. */
  int (*create)(const MountPlan *plan, int index_fd, const char **ret_way, GError **error);
  /* Makes what create() needs on disk, once for an image and mapping, which may take seconds. NULL:
   * needs nothing. With @wait FALSE it fails when the same is being made elsewhere. */
  gboolean (*prepare)(const MountPlan *plan, int index_fd, gboolean wait, GError **error);
} Backend;

/* The rows, best first; *ret_count of them. */
const Backend *backend_list(gsize *ret_count);

/* The row for @mode, NULL with INVALID for a mode that does not exist. */
const Backend *backend_find(const char *mode, GError **error);

/* Whether @plan is for @backend, before anything is done for it. Comes before all below. */
gboolean backend_check(const Backend *backend, const MountPlan *plan, GError **error);

/* Mounts @plan on the directory @target_fd (opened O_PATH): create() and, as the very last step,
 * attach. */
gboolean backend_mount(const Backend *backend, const MountPlan *plan, int index_fd, int target_fd,
                       GError **error);

/* Whether @backend works here, found out by doing: an image of one file is mounted from the cache,
 * with nothing attached anywhere, and its owner, mode and content are compared. With @upper, an
 * empty directory which the caller removes, the mount gets an upper in there, and files are changed
 * as a container would. *ret_way as in create(). Otherwise @error says in one line why not. Costs
 * milliseconds; a mode with a server starts one, which ends at once. */
gboolean backend_probe(const Backend *backend, const char *upper, const char **ret_way,
                       GError **error);

gboolean backend_erofs_check(const MountPlan *plan, GError **error);
int backend_erofs_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error);
gboolean backend_overlaydir_check(const MountPlan *plan, GError **error);
int backend_overlaydir_create(const MountPlan *plan, int index_fd, const char **ret_way,
                              GError **error);
gboolean backend_overlaydir_prepare(const MountPlan *plan, int index_fd, gboolean wait,
                                    GError **error);
gboolean backend_fuse_check(const MountPlan *plan, GError **error);
int backend_fuse_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error);
int backend_bind_create(const MountPlan *plan, int index_fd, const char **ret_way, GError **error);
