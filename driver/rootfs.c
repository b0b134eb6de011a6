/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "rootfs.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "util.h"

/* Directories that are open at once at most; ways back to those further up are found by "..". */
#define MAX_OPEN 64
#define STATX_WANTED (STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_INO)
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

typedef struct {
  TreeNode *dir;
  TreeNode **children;
  gsize count, next;
  gsize found;   /* children that are in rootfs */
  gsize present; /* entries that the directory has */
  guint64 ino;
  int fd; /* -1 while it is closed because of MAX_OPEN */
} Frame;

typedef struct {
  GArray *frames;
  GHashTable *links; /* TreeInode with several names -> the TreeNode that is in rootfs */
  guint32 dev_major, dev_minor;
  char entries[64 * 1024];
} Binder;

static void
binder_free(Binder *binder)
{
  for (guint i = 0; i < binder->frames->len; i++)
    util_close_fd(&g_array_index(binder->frames, Frame, i).fd);
  g_array_unref(binder->frames);
  g_hash_table_unref(binder->links);
  g_free(binder);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Binder, binder_free)

static Binder *
binder_new(void)
{
  Binder *binder = g_new(Binder, 1);

  binder->frames = g_array_new(FALSE, FALSE, sizeof(Frame));
  binder->links = g_hash_table_new(NULL, NULL);
  return binder;
}

static Frame *
top_frame(Binder *binder)
{
  return &g_array_index(binder->frames, Frame, binder->frames->len - 1);
}

/* "rootfs/usr/bin" as a person reads it. Caller frees. */
static char *
shown_path(const TreeNode *node, const char *name)
{
  g_autoptr(GString) path = g_string_new("rootfs");

  if (node->parent != NULL)
    g_string_append_c(path, '/');
  tree_node_append_path(node, path);
  if (name != NULL) {
    g_string_append_c(path, '/');
    g_string_append(path, name);
  }
  return util_escape(path->str);
}

static gboolean
fail_errno(const TreeNode *node, const char *what, GError **error)
{
  int saved = errno;
  g_autofree char *path = shown_path(node, NULL);

  if (saved == ENOENT)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "The manifest names `%s`, which does not exist", path);
  errno = saved;
  return util_error_errno(error, "%s `%s`", what, path);
}

static gboolean
fail(const TreeNode *node, const char *why, GError **error)
{
  g_autofree char *path = shown_path(node, NULL);

  return util_error(error, NIXSTORE_ERROR_INVALID, "`%s` %s", path, why);
}

/* The bytes of a linux_dirent64 that getdents64(2) filled in at @entries + @at. */
static const struct dirent64 *
entry_at(const char *entries, ssize_t at)
{
  return (const struct dirent64 *)(const void *)(entries + at);
}

static gboolean
is_dot(const char *name)
{
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* How many entries the directory @fd has. */
static gboolean
count_entries(Binder *binder, int fd, gsize *ret_count)
{
  gsize count = 0;
  ssize_t n;

  while ((n = getdents64(fd, binder->entries, sizeof binder->entries)) > 0) {
    for (ssize_t at = 0; at < n; at += entry_at(binder->entries, at)->d_reclen)
      count += is_dot(entry_at(binder->entries, at)->d_name) ? 0 : 1;
  }
  if (n < 0)
    return FALSE;
  *ret_count = count;
  return TRUE;
}

/* Whether the content of @node's inode must be found by this name. */
static gboolean
is_in_rootfs(Binder *binder, TreeNode *node)
{
  TreeInode *inode = node->inode;

  if (!S_ISREG(inode->mode) && !S_ISDIR(inode->mode) && !S_ISLNK(inode->mode))
    return FALSE;
  if (inode->nlink <= 1 || S_ISDIR(inode->mode))
    return TRUE;
  if (!g_hash_table_contains(binder->links, inode))
    g_hash_table_insert(binder->links, inode, node);
  return g_hash_table_lookup(binder->links, inode) == node;
}

/* Names an entry of the directory that the manifest does not have. */
static gboolean
fail_extra(Binder *binder, Frame *frame, GError **error)
{
  ssize_t n;

  if (lseek(frame->fd, 0, SEEK_SET) != 0)
    return fail_errno(frame->dir, "Rewind", error);
  while ((n = getdents64(frame->fd, binder->entries, sizeof binder->entries)) > 0)
    for (ssize_t at = 0; at < n; at += entry_at(binder->entries, at)->d_reclen) {
      const char *name = entry_at(binder->entries, at)->d_name;
      TreeNode *node = tree_lookup(frame->dir, name);

      if (!is_dot(name) && (node == NULL || !is_in_rootfs(binder, node))) {
        g_autofree char *path = shown_path(frame->dir, name);
        return util_error(error, NIXSTORE_ERROR_INVALID, "`%s` %s", path,
                          node == NULL ? "is not in the manifest"
                                       : "should not exist: the manifest has it as a device, a "
                                         "FIFO or a further name of a hard link");
      }
    }
  return fail(frame->dir, "changed while it was read", error);
}

static gboolean
bind_symlink(const Frame *frame, TreeNode *node, GError **error)
{
  char target[PATH_MAX];
  ssize_t n = readlinkat(frame->fd, node->name, target, sizeof target);

  if (n < 0 && errno == EINVAL)
    return fail(node, "is no symlink, but the manifest says so", error);
  if (n < 0)
    return fail_errno(node, "Read the symlink", error);
  if (n == 0 || n == (ssize_t)sizeof target || memchr(target, '\0', (gsize)n) != NULL)
    return fail(node, "is a symlink without a proper target", error);
  g_free(node->inode->target);
  node->inode->target = g_strndup(target, (gsize)n);
  node->inode->size = (guint64)n;
  return TRUE;
}

static gboolean
bind_file(const Frame *frame, TreeNode *node, GError **error)
{
  struct statx stx;
  int flags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;

  if (statx(frame->fd, node->name, flags, STATX_WANTED, &stx) != 0)
    return fail_errno(node, "Look at", error);
  if (!S_ISREG(stx.stx_mode))
    return fail(node, "is no regular file, but the manifest says so", error);
  if ((stx.stx_mode & 07777) != 0444 && (stx.stx_mode & 07777) != 0555)
    return fail(node, "has permissions that no file in the Nix store has (0444 or 0555)", error);
  node->inode->size = stx.stx_size;
  return TRUE;
}

/* Takes ownership of @fd, the directory of @node. */
static gboolean
push_frame(Binder *binder, TreeNode *node, int fd, GError **error)
{
  Frame frame = {.dir = node, .fd = fd};
  struct statx stx;

  frame.children = tree_children(node, &frame.count);
  g_array_append_val(binder->frames, frame);
  if (binder->frames->len > MAX_OPEN)
    util_close_fd(&g_array_index(binder->frames, Frame, binder->frames->len - 1 - MAX_OPEN).fd);
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_WANTED, &stx) != 0)
    return fail_errno(node, "Look at", error);
  if ((stx.stx_mode & 07777) != 0555)
    return fail(node, "has permissions that no directory in the Nix store has (0555)", error);
  if (binder->frames->len == 1) {
    binder->dev_major = stx.stx_dev_major;
    binder->dev_minor = stx.stx_dev_minor;
  } else if (stx.stx_dev_major != binder->dev_major || stx.stx_dev_minor != binder->dev_minor) {
    return fail(node, "is another file system", error);
  }
  top_frame(binder)->ino = stx.stx_ino;
  if (!count_entries(binder, fd, &top_frame(binder)->present))
    return fail_errno(node, "List", error);
  return TRUE;
}

static gboolean
bind_directory(Binder *binder, TreeNode *node, GError **error)
{
  int fd = openat(top_frame(binder)->fd, node->name, DIR_FLAGS);

  if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
    return fail(node, "is no directory, but the manifest says so", error);
  if (fd < 0)
    return fail_errno(node, "Open", error);
  return push_frame(binder, node, fd, error);
}

/* Leaves the top directory, every child of which has been bound. */
static gboolean
pop_frame(Binder *binder, GError **error)
{
  Frame *frame = top_frame(binder);
  Frame *parent = binder->frames->len > 1 ? frame - 1 : NULL;
  struct statx stx;

  if (frame->found != frame->present)
    return fail_extra(binder, frame, error);
  if (parent != NULL && parent->fd < 0) {
    parent->fd = openat(frame->fd, "..", DIR_FLAGS);
    if (parent->fd < 0 ||
        statx(parent->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_WANTED, &stx) != 0)
      return fail_errno(parent->dir, "Open", error);
    if (stx.stx_ino != parent->ino || stx.stx_dev_major != binder->dev_major ||
        stx.stx_dev_minor != binder->dev_minor)
      return fail(parent->dir, "was moved while it was read", error);
  }
  util_close_fd(&frame->fd);
  g_array_set_size(binder->frames, binder->frames->len - 1);
  return TRUE;
}

static gboolean
bind_next(Binder *binder, GError **error)
{
  Frame *frame = top_frame(binder);
  TreeNode *node;

  if (frame->next == frame->count)
    return pop_frame(binder, error);
  node = frame->children[frame->next++];
  if (!is_in_rootfs(binder, node))
    return TRUE;
  frame->found++;
  if (S_ISDIR(node->inode->mode))
    return bind_directory(binder, node, error);
  if (S_ISLNK(node->inode->mode))
    return bind_symlink(frame, node, error);
  return bind_file(frame, node, error);
}

gboolean
rootfs_bind_tree(Tree *tree, int rootfs_fd, GError **error)
{
  g_autoptr(Binder) binder = binder_new();
  int fd = openat(rootfs_fd, ".", DIR_FLAGS);

  if (fd < 0)
    return fail_errno(tree_root(tree), "Open", error);
  if (!push_frame(binder, tree_root(tree), fd, error))
    return FALSE;
  while (binder->frames->len > 0)
    if (!bind_next(binder, error))
      return FALSE;
  return TRUE;
}
