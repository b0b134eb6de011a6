/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whiteouts: the OCI image spec's layer.md (".wh." names) and the kernel's
 * Documentation/filesystems/overlayfs.rst ("whiteouts and opaque directories").
 */
#include "config.h"

#include "upper.h"

#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "stack.h"
#include "util.h"
#include "whiteout.h"

/* overlayfs looks for the second one where it was mounted with userxattr. */
static const char *const upper_opaque_names[] = {"trusted.overlay.opaque", "user.overlay.opaque"};

static gboolean
upper_make_opaque(int fd, GError **error)
{
  char path[32];

  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  for (gsize i = 0; i < G_N_ELEMENTS(upper_opaque_names); i++)
    if (setxattr(path, upper_opaque_names[i], "y", 1, 0) == 0)
      return TRUE;
    else if (errno != EPERM)
      break;
  return util_error_errno(error, "mark a directory as opaque");
}

/* What stands under the whiteout's own name was made after it, in the same layer. */
static gboolean
upper_apply_whiteout(int dir_fd, const char *name, GError **error)
{
  struct stat st;

  if (mknodat(dir_fd, name, S_IFCHR, makedev(0, 0)) == 0)
    return TRUE;
  if (errno != EEXIST || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
    return util_error_errno(error, "make the whiteout of %s", name);
  if (!S_ISDIR(st.st_mode))
    return TRUE;
  autofd int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return util_error_errno(error, "open the directory %s", name);
  return upper_make_opaque(fd, error);
}

/* The name goes last: until then all this can be done again. */
static gboolean
upper_translate_name(int dir_fd, const char *name, GError **error)
{
  const char *hidden = name + strlen(WHITEOUT_PREFIX);

  if (strcmp(name, WHITEOUT_OPAQUE) == 0) {
    if (!upper_make_opaque(dir_fd, error))
      return FALSE;
  } else if (g_str_has_prefix(name, WHITEOUT_META_PREFIX) || !tree_name_is_valid(hidden)) {
    return TRUE;
  } else if (!upper_apply_whiteout(dir_fd, hidden, error)) {
    return FALSE;
  }
  if (unlinkat(dir_fd, name, 0) < 0)
    return util_error_errno(error, "remove %s", name);
  return TRUE;
}

/* Sorts what the directory @fd holds into whiteouts (names) and directories (paths beneath the
 * upper). */
static gboolean
upper_list(int fd, const char *path, GPtrArray *whiteouts, GPtrArray *directories, GError **error)
{
  g_autoptr(GPtrArray) names = util_list_directory(fd, path, error);
  struct stat st;

  if (!names)
    return FALSE;
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index(names, i);
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
      continue;
    if (S_ISDIR(st.st_mode))
      g_ptr_array_add(directories, g_build_filename(path, name, NULL));
    else if (S_ISREG(st.st_mode) && g_str_has_prefix(name, WHITEOUT_PREFIX))
      g_ptr_array_add(whiteouts, g_strdup(name));
  }
  return TRUE;
}

static gboolean
upper_translate_directory(int upper_fd, const char *path, GPtrArray *directories, GError **error)
{
  g_autoptr(GPtrArray) whiteouts = g_ptr_array_new_with_free_func(g_free);
  struct stat st;
  autofd int fd = util_openat2(upper_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

  if (fd < 0 || fstat(fd, &st) < 0)
    return util_error_errno(error, "open the directory %s", path);
  if (!upper_list(fd, path, whiteouts, directories, error))
    return FALSE;
  if (whiteouts->len == 0)
    return TRUE;
  for (guint i = 0; i < whiteouts->len; i++)
    if (!upper_translate_name(fd, whiteouts->pdata[i], error))
      return FALSE;
  struct timespec times[] = {st.st_atim, st.st_mtim};
  if (futimens(fd, times) < 0)
    return util_error_errno(error, "give the directory %s its time again", path);
  return TRUE;
}

static gboolean
upper_translate_layer(const StackLayer *layer, GError **error)
{
  g_autoptr(GPtrArray) directories = g_ptr_array_new_with_free_func(g_free);

  g_ptr_array_add(directories, g_strdup("."));
  while (directories->len > 0) {
    g_autofree char *path = g_ptr_array_steal_index_fast(directories, directories->len - 1);
    if (!upper_translate_directory(layer->fd, path, directories, error)) {
      g_prefix_error(error, "translate the whiteouts of %s: ", layer->path);
      return FALSE;
    }
  }
  return TRUE;
}

int
upper_lock(const char *path, GError **error)
{
  autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0) {
    util_error_errno(error, "open the upper directory %s", path);
    return -1;
  }
  while (flock(fd, LOCK_EX) < 0) {
    if (errno == EINTR)
      continue;
    util_error_errno(error, "lock the upper directory %s", path);
    return -1;
  }
  return util_steal_fd(&fd);
}

gboolean
upper_is_fresh(const MountPlan *plan)
{
  if (!plan->upper)
    return FALSE;
  /* overlayfs leaves a directory of its own beside an upper that it has mounted. */
  g_autofree char *used = g_build_filename(plan->work, "work", NULL);

  return access(used, F_OK) < 0 && errno == ENOENT;
}

gboolean
upper_translate_whiteouts(const MountPlan *plan, GError **error)
{
  const char *const paths[] = {plan->upper, NULL};

  g_autoptr(Stack) stack = stack_open(paths, TRUE, error);
  if (!stack)
    return FALSE;
  const StackLayer *layer = stack->layers->pdata[0];
  return !layer->is_own || layer->reference || upper_translate_layer(layer, error);
}
