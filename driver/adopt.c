/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "adopt.h"

#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "idmap.h"
#include "index.h"
#include "overlay.h"
#include "util.h"

/* Under which name overlayfs shows what the image calls @name, and does not obey it. */
static char *
adopt_escape(const char *name)
{
  const char *marks = overlay_marks();

  return g_str_has_prefix(name, marks)
             ? g_strconcat(marks, OVERLAY_ESCAPE, name + strlen(marks), NULL)
             : g_strdup(name);
}

static gboolean
adopt_set_xattrs(const Index *index, const char *path, GError **error)
{
  guint64 root = index_root_nid(index);
  gssize size = index_listxattr(index, root, NULL, 0);
  g_autofree char *names = size > 0 ? g_malloc((gsize)size) : NULL;

  if (size <= 0)
    return TRUE;
  size = index_listxattr(index, root, names, (gsize)size);
  for (const char *name = names; name < names + size; name += strlen(name) + 1) {
    gssize length = index_getxattr(index, root, name, NULL, 0);
    g_autofree char *value = g_malloc((gsize)MAX(length, 0) + 1);
    if (length < 0 || index_getxattr(index, root, name, value, (gsize)length) != length)
      continue;
    g_autofree char *escaped = adopt_escape(name);
    /* A filesystem without such attributes has none to show, nor does one have a name that the
     * escape makes too long. */
    if (setxattr(path, escaped, value, (gsize)length, 0) < 0 && errno != EOPNOTSUPP &&
        errno != ERANGE)
      return util_error_errno(error, "set the attribute %s of %s", name, path);
  }
  return TRUE;
}

static gboolean
adopt_apply(const Index *index, const IndexStat *root, guint32 uid, guint32 gid, int fd,
            GError **error)
{
  struct stat st;
  char path[32];

  if (fstat(fd, &st) < 0)
    return util_error_errno(error, "look at a layer's directory");
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if ((st.st_uid != uid || st.st_gid != gid) && chown(path, uid, gid) < 0)
    return util_error_errno(error, "give a layer's directory to %u:%u", uid, gid);
  if ((st.st_mode & 07777) != (root->mode & 07777) && chmod(path, root->mode & 07777) < 0)
    return util_error_errno(error, "set the mode of a layer's directory");
  return adopt_set_xattrs(index, path, error);
}

static gboolean
adopt_apply_upper(const MountPlan *plan, const Index *index, const IndexStat *root, GError **error)
{
  guint32 uid, gid;
  autofd int upper = open(plan->upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (upper < 0)
    return util_error_errno(error, "open the upper directory %s", plan->upper);
  if (!idmap_map(plan->uids, root->uid, &uid) || !idmap_map(plan->gids, root->gid, &gid))
    return TRUE;
  return adopt_apply(index, root, uid, gid, upper, error);
}

gboolean
adopt_root(const MountPlan *plan, int index_fd, int layer_fd, GError **error)
{
  IndexStat root;

  g_autoptr(Index) index = index_open(index_fd, error);
  if (!index)
    return FALSE;
  int result = index_stat(index, index_root_nid(index), &root);
  if (result < 0) {
    errno = -result;
    return util_error_errno(error, "read the root directory of the index");
  }
  if (layer_fd >= 0 && !adopt_apply(index, &root, root.uid, root.gid, layer_fd, error))
    return FALSE;
  return plan->lowers[0] != NULL || adopt_apply_upper(plan, index, &root, error);
}
