/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "mountapi.h"

#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "util.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

gboolean
mountapi_is_disabled(const char *feature)
{
  const char *list = getenv("NIXSTORE_TEST_DISABLE");
  gsize size = strlen(feature);

  for (; list && *list; list += strcspn(list, ","), list += *list == ',')
    if (strncmp(list, feature, size) == 0 && (list[size] == ',' || !list[size]))
      return TRUE;
  return FALSE;
}

/* What the kernel wrote into @fs's log about the last failure: "e overlay: ..." a message. */
static char *
mountapi_read_log(int fs)
{
  char line[512];
  gssize size;
  char *last = NULL;

  while (fs >= 0 && (size = read(fs, line, sizeof line - 1)) > 0) {
    line[size] = '\0';
    g_free(last);
    last = util_escape(g_strchomp(size > 2 && line[1] == ' ' ? line + 2 : line));
  }
  return last;
}

static gboolean mountapi_error(GError **error, int fs, const char *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean
mountapi_error(GError **error, int fs, const char *format, ...)
{
  int saved = errno;
  gboolean unsupported = saved == EINVAL || saved == ENOSYS || saved == EOPNOTSUPP ||
                         saved == ENODEV || saved == ENOTBLK || saved == E2BIG;
  va_list args;

  va_start(args, format);
  g_autofree char *text = g_strdup_vprintf(format, args);
  va_end(args);
  g_autofree char *log = mountapi_read_log(fs);
  util_error(error, unsupported ? NIXSTORE_ERROR_UNSUPPORTED : NIXSTORE_ERROR_FAILED,
             "%s: %s%s%s%s", text, g_strerror(saved), log ? " (" : "", log ? log : "",
             log ? ")" : "");
  errno = saved;
  return FALSE;
}

int
mountapi_open_fs(const char *type, GError **error)
{
  int fs = fsopen(type, FSOPEN_CLOEXEC);

  if (fs < 0)
    mountapi_error(error, -1, "open the filesystem type %s", type);
  return fs;
}

gboolean
mountapi_set_string(int fs, const char *key, const char *value, GError **error)
{
  if (fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0)
    return mountapi_error(error, fs, "set the mount option %s=%s", key, value);
  return TRUE;
}

gboolean
mountapi_set_flag(int fs, const char *key, GError **error)
{
  if (fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0) < 0)
    return mountapi_error(error, fs, "set the mount option %s", key);
  return TRUE;
}

gboolean
mountapi_set_fd(int fs, const char *key, int fd, GError **error)
{
  if (fsconfig(fs, FSCONFIG_SET_FD, key, NULL, fd) < 0) {
    /* Before Linux 6.13 fsconfig(2) does not take an O_PATH descriptor at all. */
    if (errno == EBADF)
      errno = EOPNOTSUPP;
    return mountapi_error(error, fs, "set the mount option %s to a descriptor", key);
  }
  return TRUE;
}

int
mountapi_create(int fs, guint64 attributes, GError **error)
{
  int fd;

  if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
    mountapi_error(error, fs, "create the filesystem (dmesg may say more)");
    return -1;
  }
  fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
  if (fd < 0)
    mountapi_error(error, fs, "mount the filesystem");
  return fd;
}

int
mountapi_clone(int fd, GError **error)
{
  int clone_fd = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

  if (clone_fd < 0)
    mountapi_error(error, -1, "clone a mount");
  return clone_fd;
}

gboolean
mountapi_set_idmap(int mount_fd, int userns_fd, GError **error)
{
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (guint64)userns_fd};

  if (mountapi_is_disabled("idmapped-mounts")) {
    errno = EOPNOTSUPP;
    return mountapi_error(error, -1, "map the ids of a mount");
  }
  if (mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
    return mountapi_error(error, -1, "map the ids of a mount");
  return TRUE;
}

gboolean
mountapi_set_attributes(int mount_fd, guint64 attributes, GError **error)
{
  /* The access time's are a field and not bits: mount_setattr(2) wants it cleared to set it. */
  const guint64 clear = attributes & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0;
  struct mount_attr attr = {.attr_set = attributes, .attr_clr = clear};

  if (attributes && mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
    return mountapi_error(error, -1, "set the attributes of a mount");
  return TRUE;
}

gboolean
mountapi_attach(int mount_fd, int target_fd, GError **error)
{
  if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
      0) {
    mountapi_error(error, -1, "attach the mount to its target");
    return FALSE;
  }
  return TRUE;
}

static void
mountapi_clear_stay(MountapiStay *stay)
{
  util_close_fd(&stay->namespace_fd);
  util_close_fd(&stay->root_fd);
  util_close_fd(&stay->cwd_fd);
}

gboolean
mountapi_enter_private(MountapiStay *stay, GError **error)
{
  stay->namespace_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  stay->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  stay->cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (stay->namespace_fd < 0 || stay->root_fd < 0 || stay->cwd_fd < 0) {
    mountapi_error(error, -1, "open the mount namespace");
    mountapi_clear_stay(stay);
    return FALSE;
  }
  if (unshare(CLONE_NEWNS) < 0) {
    mountapi_error(error, -1, "create a mount namespace");
    mountapi_clear_stay(stay);
    return FALSE;
  }
  /* Nothing that we mount here may reach the namespace we came from. */
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
    mountapi_error(error, -1, "make / private in a mount namespace of our own");
    mountapi_leave_private(stay, NULL);
    return FALSE;
  }
  return TRUE;
}

gboolean
mountapi_leave_private(MountapiStay *stay, GError **error)
{
  gboolean ok = TRUE;

  if (stay->namespace_fd < 0)
    return TRUE;
  /* setns(2) takes us to the namespace's own root, which in a chroot is not where we were. */
  if (setns(stay->namespace_fd, CLONE_NEWNS) < 0 || fchdir(stay->root_fd) < 0 || chroot(".") < 0 ||
      fchdir(stay->cwd_fd) < 0)
    ok = mountapi_error(error, -1, "return to the mount namespace");
  mountapi_clear_stay(stay);
  return ok;
}

gboolean
mountapi_attach_private(int mount_fd, GError **error)
{
  /* On top of "/": no path leads there, as lookups start at the root below it. */
  if (move_mount(mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    mountapi_error(error, -1, "attach a layer in a mount namespace of our own");
    return FALSE;
  }
  return TRUE;
}
