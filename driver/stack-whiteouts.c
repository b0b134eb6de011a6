/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether a layer holds whiteouts in AUFS's style, which the kernel's overlayfs takes for files.
 */
#include "config.h"

#include "stack.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <string.h>

#include "util.h"
#include "whiteout.h"

typedef struct {
  GPtrArray *pending; /* directories yet to be read, paths beneath the layer; owned */
  gboolean found;
} WhiteoutSearch;

static gboolean
whiteouts_is_directory(int dir_fd, const struct dirent *entry)
{
  struct stat st;

  if (entry->d_type != DT_UNKNOWN)
    return entry->d_type == DT_DIR;
  return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static gboolean
whiteouts_read_directory(WhiteoutSearch *search, int layer_fd, const char *path, GError **error)
{
  int fd = util_openat2(layer_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  struct dirent *entry;

  if (!dir) {
    util_close_fd(&fd);
    return util_error_errno(error, "read the directory %s", path);
  }
  while (!search->found && (errno = 0, entry = readdir(dir))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    if (g_str_has_prefix(entry->d_name, WHITEOUT_PREFIX))
      search->found = TRUE;
    else if (whiteouts_is_directory(dirfd(dir), entry))
      g_ptr_array_add(search->pending, g_build_filename(path, entry->d_name, NULL));
  }
  gboolean ok = search->found || errno == 0 || util_error_errno(error, "read %s", path);
  closedir(dir);
  return ok;
}

gboolean
stack_layer_find_whiteouts(const StackLayer *layer, gboolean *ret_found, GError **error)
{
  g_autoptr(GPtrArray) pending = g_ptr_array_new_with_free_func(g_free);
  WhiteoutSearch search = {pending, FALSE};

  g_ptr_array_add(pending, g_strdup("."));
  while (pending->len > 0 && !search.found) {
    g_autofree char *path = g_ptr_array_steal_index_fast(pending, pending->len - 1);
    if (!whiteouts_read_directory(&search, layer->fd, path, error)) {
      g_prefix_error(error, "look for whiteouts in %s: ", layer->path);
      return FALSE;
    }
  }
  *ret_found = search.found;
  return TRUE;
}
