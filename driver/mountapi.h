/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The kernel's mount API by descriptor (fsopen(2), fsmount(2), open_tree(2), mount_setattr(2),
 * move_mount(2)), with errors that carry the kernel's own words. A mount that is only a descriptor
 * goes away with it, so whatever is killed midway leaves nothing. Stands on util.
 *
 * Where the kernel refuses what an older or newer one might take (EINVAL, ENOSYS, EOPNOTSUPP,
 * ENODEV, ENOTBLK) the error is UNSUPPORTED: a caller with another way to go tries that.
 */
#pragma once

#include <glib.h>

/* Whether the test suite asks us to do without @feature: it stands in the comma-separated list
 * NIXSTORE_TEST_DISABLE. Harmless in anyone's hands: it only picks among ways to the same mount. */
gboolean mountapi_is_disabled(const char *feature);

/* A configuration context for the filesystem @type. */
int mountapi_open_fs(const char *type, GError **error);
gboolean mountapi_set_string(int fs, const char *key, const char *value, GError **error);
gboolean mountapi_set_flag(int fs, const char *key, GError **error);
gboolean mountapi_set_fd(int fs, const char *key, int fd, GError **error);

/* Creates the filesystem that @fs describes and a detached mount of it with MOUNT_ATTR_*
 * @attributes. */
int mountapi_create(int fs, guint64 attributes, GError **error);

/* A detached clone of the mount beneath the directory @fd, that directory its root; without
 * submounts. */
int mountapi_clone(int fd, GError **error);

/* Maps the ids of the detached mount @mount_fd as @userns_fd does. */
gboolean mountapi_set_idmap(int mount_fd, int userns_fd, GError **error);
gboolean mountapi_set_attributes(int mount_fd, guint64 attributes, GError **error);

/* Attaches the detached mount @mount_fd on top of the directory @target_fd. */
gboolean mountapi_attach(int mount_fd, int target_fd, GError **error);

/* A stay in a mount namespace of our own, for kernels that take only attached mounts as layers of
 * an overlay (before 6.15). */
typedef struct {
  int namespace_fd, root_fd, cwd_fd; /* where we came from; -1 when not away */
} MountapiStay;
#define MOUNTAPI_STAY_INIT                                                                         \
  {                                                                                                \
    -1, -1, -1                                                                                     \
  }

/* Enters a private copy of the mount namespace. Descriptors of before stay in the old one. */
gboolean mountapi_enter_private(MountapiStay *stay, GError **error);
/* Goes back to where the process was; the copy and all mounts in it vanish. Fine when not away. */
gboolean mountapi_leave_private(MountapiStay *stay, GError **error);
/* Attaches @mount_fd somewhere in the private namespace, where only its descriptor leads to it. */
gboolean mountapi_attach_private(int mount_fd, GError **error);
