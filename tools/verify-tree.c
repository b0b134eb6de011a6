/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "verify-tree.h"
#include "util.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <string.h>

typedef struct {
  GPtrArray *problems;
  GHashTable *first_names; /* inode of several names -> its first node, which alone is in rootfs */
} Verification;

static void
report(const Verification *it, const TreeNode *dir, const char *name, const char *problem)
{
  g_autofree char *path = tree_node_path(dir);
  g_ptr_array_add(it->problems, g_strdup_printf("rootfs/%s%s%s: %s", path,
                                                *path && *name ? "/" : "", name, problem));
}

static const char *
type_text(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "a directory";
  case S_IFREG:
    return "a regular file";
  case S_IFLNK:
    return "a symlink";
  default:
    return "a special file";
  }
}

static gboolean
belongs_in_rootfs(const Verification *it, const TreeNode *node)
{
  const TreeInode *inode = node->inode;
  if (!S_ISDIR(inode->mode) && !S_ISREG(inode->mode) && !S_ISLNK(inode->mode))
    return FALSE;
  return inode->nlink <= 1 || g_hash_table_lookup(it->first_names, inode) == node;
}

/* The store gives every file one of two modes; a link count of more than one is its optimiser's. */
static void
check_found(const Verification *it, const TreeNode *node, int dir_fd)
{
  struct stat st;
  mode_t expected = node->inode->mode;
  if (fstatat(dir_fd, node->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
    report(it, node->parent, node->name, g_strerror(errno));
    return;
  }
  if ((st.st_mode & S_IFMT) != (expected & S_IFMT)) {
    g_autofree char *text =
        g_strdup_printf("%s, but the manifest has %s", type_text(st.st_mode), type_text(expected));
    report(it, node->parent, node->name, text);
    return;
  }
  mode_t mode = st.st_mode & 07777;
  if (!S_ISLNK(st.st_mode) && mode != 0444 && mode != 0555) {
    g_autofree char *text = g_strdup_printf("mode %04o, which no file of the store has", mode);
    report(it, node->parent, node->name, text);
  }
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in @fd, sorted; takes @fd. NULL with errno. */
static GPtrArray *
read_names(int fd)
{
  DIR *stream = fdopendir(fd);
  if (!stream) {
    util_close_fd(&fd);
    return NULL;
  }
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  struct dirent *entry;
  errno = 0;
  while ((entry = readdir(stream)))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      g_ptr_array_add(names, g_strdup(entry->d_name));
  int failure = errno;
  closedir(stream);
  errno = failure;
  if (failure)
    return NULL;
  g_ptr_array_sort(names, compare_names);
  return g_steal_pointer(&names);
}

/* Goes through the two sorted lists of @dir's names in step. */
static void
check_names(const Verification *it, TreeNode *dir, GPtrArray *names, int dir_fd)
{
  gsize n_children;
  TreeNode **children = tree_children(dir, &n_children);
  gsize i = 0;
  guint j = 0;
  while (i < n_children || j < names->len) {
    int order = i == n_children   ? 1
                : j == names->len ? -1
                                  : strcmp(children[i]->name, names->pdata[j]);
    if (order > 0) {
      report(it, dir, names->pdata[j++], "not in the manifest");
      continue;
    }
    gboolean belongs = belongs_in_rootfs(it, children[i]);
    if (order < 0 && belongs)
      report(it, dir, children[i]->name, "missing, the manifest has it");
    else if (order == 0 && !belongs)
      report(it, dir, children[i]->name,
             "must not be there: the manifest has a special file or a further name of a hard link");
    else if (order == 0)
      check_found(it, children[i], dir_fd);
    i++;
    j += order == 0;
  }
}

static void
check_directory(const Verification *it, TreeNode *dir, int rootfs_fd)
{
  g_autofree char *path = tree_node_path(dir);
  int fd = util_openat2(rootfs_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY, 0,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  /* A directory that is missing was reported with its parent, and so was what stands in its place.
   */
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
    return;
  autofd int kept = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
  g_autoptr(GPtrArray) names = kept < 0 ? NULL : read_names(fd);
  if (!names)
    report(it, dir, "", g_strerror(errno));
  else
    check_names(it, dir, names, kept);
}

void
verify_tree(Tree *tree, int rootfs_fd, GPtrArray *problems)
{
  g_autoptr(GHashTable) first_names = g_hash_table_new(NULL, NULL);
  Verification it = {.problems = problems, .first_names = first_names};
  TreeNode *node;
  for (node = tree_root(tree); node; node = tree_next(node, NULL))
    if (!S_ISDIR(node->inode->mode) && node->inode->nlink > 1 &&
        !g_hash_table_contains(first_names, node->inode))
      g_hash_table_insert(first_names, node->inode, node);
  for (node = tree_root(tree); node; node = tree_next(node, NULL))
    if (S_ISDIR(node->inode->mode))
      check_directory(&it, node, rootfs_fd);
}
