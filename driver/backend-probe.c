/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether a mode works here: it is asked to show an image of a single file.
 */
#include "config.h"

#include "backend.h"

#include <string.h>

#include "cache.h"
#include "mountapi.h"
#include "settings.h"
#include "util.h"

#define PROBE_DIRECTORY "probe"
#define PROBE_FILE "file"
#define PROBE_CONTENT "nixstore\n"
/* As no file of a store is. */
#define PROBE_MODE 04710
/* What is written to see whether there is an upper. */
#define PROBE_NEW_FILE "new"

static Tree *
probe_build(gpointer data, const char *const **ret_prefixes, GError **error)
{
  g_autoptr(Tree) tree = tree_new();
  g_autoptr(TreeInode) file = tree_inode_new(S_IFREG | PROBE_MODE);

  file->size = strlen(PROBE_CONTENT);
  tree_insert(tree, tree_root(tree), PROBE_FILE, file);
  return g_steal_pointer(&tree);
}

/* The content of the image: two names that stay in the cache, so that nothing is to be cleaned up.
 */
static char *
probe_make_data(GError **error)
{
  const Settings *settings = settings_get(error);

  if (!settings)
    return NULL;
  g_autofree char *path = g_build_filename(settings->cache, PROBE_DIRECTORY, NULL);
  if (!util_make_directory(path, 0755, error))
    return NULL;
  autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    util_error_errno(error, "open the directory %s", path);
    return NULL;
  }
  if (faccessat(fd, PROBE_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
      !util_replace_file(fd, PROBE_FILE, PROBE_CONTENT, strlen(PROBE_CONTENT), 0444, error))
    return NULL;
  return g_steal_pointer(&path);
}

static gboolean
probe_compare(const Backend *backend, int mount_fd, GError **error)
{
  char content[sizeof PROBE_CONTENT] = {0};
  struct stat st;
  autofd int fd = openat(mount_fd, PROBE_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0 || read(fd, content, sizeof content) < 0)
    return util_error_errno(error, "read a file in the mount");
  if (strcmp(content, PROBE_CONTENT) != 0 ||
      (backend->is_faithful && ((st.st_mode & 07777) != PROBE_MODE || st.st_uid != 0)))
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "the mount shows another file");
  return TRUE;
}

/* Whether the mount takes changes as native diffs want them: whole files in the upper. */
static gboolean
probe_change(const MountPlan *plan, int mount_fd, GError **error)
{
  g_autofree char *copied = g_build_filename(plan->upper, PROBE_FILE, NULL);
  struct stat st;
  autofd int fd = openat(mount_fd, PROBE_NEW_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

  if (fd < 0 || fchmodat(mount_fd, PROBE_FILE, 0700, 0) < 0)
    return util_error_errno(error, "change a file in the mount");
  if (stat(copied, &st) < 0 || st.st_size != (off_t)strlen(PROBE_CONTENT) || st.st_blocks == 0)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "a changed file is not copied up whole");
  return TRUE;
}

static gboolean
probe_create(const Backend *backend, const MountPlan *plan, int index_fd, const char **ret_way,
             GError **error)
{
  const char *way;
  autofd int mount_fd = backend->create(plan, index_fd, &way, error);

  if (mount_fd < 0 || !probe_compare(backend, mount_fd, error) ||
      (plan->upper && !probe_change(plan, mount_fd, error)))
    return FALSE;
  *ret_way = way;
  return TRUE;
}

static gboolean
probe_mount(const Backend *backend, const char *upper, const char **ret_way, GError **error)
{
  g_autoptr(Cache) cache = cache_open(error);
  autofd int index_fd = -1;

  if (!cache)
    return FALSE;
  g_autofree char *data = probe_make_data(error);
  if (!data)
    return FALSE;
  char *none[] = {NULL}, *only[] = {data, NULL};
  g_autofree char *diff = upper ? g_build_filename(upper, "diff", NULL) : NULL;
  g_autofree char *work = upper ? g_build_filename(upper, "work", NULL) : NULL;
  g_autofree char *overlaydir = upper ? g_build_filename(upper, "image", "probe", NULL) : NULL;
  g_autofree char *aside = upper ? g_build_filename(upper, "aside", NULL) : NULL;
  if (upper && (!util_make_directory(diff, 0755, error) || !util_make_directory(work, 0755, error)))
    return FALSE;
  const MountPlan plan = {
      .lowers = backend->uses_index ? none : only,
      .data = backend->uses_index ? only : none,
      .index = backend->uses_index ? PLAN_INDEX_REFERENCE : PLAN_INDEX_NONE,
      .upper = diff,
      .work = work,
      .overlaydir = overlaydir,
      .overlaydir_aside = aside,
  };
  if (!backend_check(backend, &plan, error))
    return FALSE;
  if (backend->uses_index) {
    index_fd = cache_open_index(cache, NULL, probe_build, NULL, error);
    if (index_fd < 0)
      return FALSE;
  }
  if (backend->prepare && !backend->prepare(&plan, index_fd, TRUE, error))
    return FALSE;
  return probe_create(backend, &plan, index_fd, ret_way, error);
}

gboolean
backend_probe(const Backend *backend, const char *upper, const char **ret_way, GError **error)
{
  if (geteuid() != 0)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "mounting needs root, or a user namespace as of `podman unshare'");
  return probe_mount(backend, upper, ret_way, error);
}
