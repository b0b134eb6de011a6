/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The union of a stack as one tree: each layer is applied to what lies below it, bottom to top.
 * Whiteouts: the OCI image spec's layer.md (".wh." names) and the kernel's
 * Documentation/filesystems/overlayfs.rst ("whiteouts and opaque directories").
 */
#include "config.h"

#include "stack.h"

#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "image.h"
#include "overlay.h"
#include "util.h"
#include "whiteout.h"

/* The longest list of names and the longest value that the kernel gives (xattr(7)). */
#define XATTR_MAX 65536

typedef struct {
  Tree *tree;
  const StackLayer *layer;
  guint32 number;      /* the layer's in the stack */
  const char *marks;   /* overlay_marks(); other names of overlayfs's are xattrs like any */
  GHashTable *links;   /* of the layer: its inode, as text or as pointer, to the tree's */
  char *names, *value; /* buffers of XATTR_MAX */
} Merge;

typedef struct {
  char *name;
  struct stat st;
  const char *hides; /* a whiteout: the name that it takes away */
} MergeEntry;

static void
merge_entry_clear(gpointer data)
{
  g_free(((MergeEntry *)data)->name);
}

static int
merge_compare_entries(gconstpointer a, gconstpointer b)
{
  return strcmp(((const MergeEntry *)a)->name, ((const MergeEntry *)b)->name);
}

/* The entries of the directory @fd, the layer's @path (of MergeEntry), in the tree's order. */
static GArray *
merge_read_directory(int fd, const char *path, GError **error)
{
  g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(MergeEntry));
  g_autoptr(GPtrArray) names = util_list_directory(fd, path, error);

  if (!names)
    return NULL;
  g_array_set_clear_func(entries, merge_entry_clear);
  for (guint i = 0; i < names->len; i++) {
    MergeEntry entry = {0};
    if (fstatat(fd, g_ptr_array_index(names, i), &entry.st, AT_SYMLINK_NOFOLLOW) < 0) {
      util_error_errno(error, "look at %s in %s", (char *)g_ptr_array_index(names, i), path);
      return NULL;
    }
    entry.name = g_strdup(g_ptr_array_index(names, i));
    g_array_append_val(entries, entry);
  }
  g_array_sort(entries, merge_compare_entries);
  return g_steal_pointer(&entries);
}

/* The size of overlayfs's mark @mark of an entry, its value in merge->value; negative: none. */
static gssize
merge_get_mark(const Merge *merge, int dir_fd, const char *name, const char *mark)
{
  g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", dir_fd, name);
  g_autofree char *xattr = g_strconcat(merge->marks, mark, NULL);

  return lgetxattr(path, xattr, merge->value, XATTR_MAX);
}

/* Whether overlayfs calls the directory @dir_fd opaque ("y"). */
static gboolean
merge_is_opaque(const Merge *merge, int dir_fd)
{
  return merge_get_mark(merge, dir_fd, ".", "opaque") == 1 && merge->value[0] == 'y';
}

static gboolean
merge_is_whiteout(const Merge *merge, int dir_fd, const MergeEntry *entry)
{
  if (S_ISCHR(entry->st.st_mode))
    return entry->st.st_rdev == 0;
  return S_ISREG(entry->st.st_mode) && entry->st.st_size == 0 &&
         merge_get_mark(merge, dir_fd, entry->name, "whiteout") >= 0;
}

static gboolean
merge_add_xattr(Merge *merge, TreeInode *inode, const char *path, const char *name, GError **error)
{
  gssize size = lgetxattr(path, name, merge->value, XATTR_MAX);

  if (size < 0)
    return errno == ENODATA || util_error_errno(error, "read the attribute %s", name);
  const char *mark = g_str_has_prefix(name, merge->marks) ? name + strlen(merge->marks) : NULL;
  if (!mark) {
    tree_inode_set_xattr(inode, name, merge->value, (gsize)size);
  } else if (g_str_has_prefix(mark, OVERLAY_ESCAPE)) {
    g_autofree char *plain = g_strconcat(merge->marks, mark + strlen(OVERLAY_ESCAPE), NULL);
    tree_inode_set_xattr(inode, plain, merge->value, (gsize)size);
  } else if (strcmp(mark, "redirect") == 0 || strcmp(mark, "metacopy") == 0) {
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "a layer made with overlayfs's redirect_dir or metacopy cannot be merged");
  }
  return TRUE;
}

static gboolean
merge_add_xattrs(Merge *merge, TreeInode *inode, int dir_fd, const char *name, GError **error)
{
  g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", dir_fd, name);
  gssize size = llistxattr(path, merge->names, XATTR_MAX);

  if (size < 0)
    return errno == EOPNOTSUPP || util_error_errno(error, "list the attributes of %s", name);
  for (const char *p = merge->names; p < merge->names + size; p += strlen(p) + 1)
    if (!merge_add_xattr(merge, inode, path, p, error))
      return FALSE;
  return TRUE;
}

static gboolean
merge_read_target(TreeInode *inode, int dir_fd, const char *name, GError **error)
{
  char target[PATH_MAX];
  gssize size = readlinkat(dir_fd, name, target, sizeof target);

  if (size < 0 || size == sizeof target)
    return util_error_errno(error, "read the symlink %s", name);
  inode->target = g_strndup(target, (gsize)size);
  inode->size = (guint64)size;
  return TRUE;
}

static void
merge_set_attributes(TreeInode *inode, const struct stat *st)
{
  inode->mode = st->st_mode;
  inode->uid = st->st_uid;
  inode->gid = st->st_gid;
  inode->mtime = st->st_mtim.tv_sec;
  inode->mtime_nsec = (guint32)st->st_mtim.tv_nsec;
  if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
    inode->rdev_major = major(st->st_rdev);
    inode->rdev_minor = minor(st->st_rdev);
  }
}

/* A new inode for the entry @name of @dir_fd, which lies at @path in the layer. */
static TreeInode *
merge_make_inode(Merge *merge, int dir_fd, const char *name, const char *path,
                 const struct stat *st, GError **error)
{
  g_autoptr(TreeInode) inode = tree_inode_new(st->st_mode);

  merge_set_attributes(inode, st);
  if (S_ISLNK(st->st_mode) && !merge_read_target(inode, dir_fd, name, error))
    return NULL;
  if (S_ISREG(st->st_mode)) {
    inode->size = (guint64)st->st_size;
    inode->content_layer = merge->number;
    inode->content_path = g_strdup(path);
  }
  return merge_add_xattrs(merge, inode, dir_fd, name, error) ? g_steal_pointer(&inode) : NULL;
}

/* The inode of an entry: the same one for all names of a hard-linked file. */
static TreeInode *
merge_get_inode(Merge *merge, int dir_fd, const MergeEntry *entry, const char *path, GError **error)
{
  if (S_ISDIR(entry->st.st_mode) || entry->st.st_nlink < 2)
    return merge_make_inode(merge, dir_fd, entry->name, path, &entry->st, error);

  g_autofree char *key = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT,
                                         (guint64)entry->st.st_dev, (guint64)entry->st.st_ino);
  TreeInode *known = g_hash_table_lookup(merge->links, key);
  if (known)
    return tree_inode_ref(known);
  TreeInode *inode = merge_make_inode(merge, dir_fd, entry->name, path, &entry->st, error);
  if (inode)
    g_hash_table_insert(merge->links, g_steal_pointer(&key), tree_inode_ref(inode));
  return inode;
}

/* Puts @inode into @dir as @name. A directory stays with its entries where it was one before. */
static TreeNode *
merge_place_inode(Merge *merge, TreeNode *dir, const char *name, TreeInode *inode)
{
  TreeNode *node = tree_lookup(dir, name);

  if (!node)
    return tree_insert(merge->tree, dir, name, inode);
  tree_replace_inode(merge->tree, node, inode);
  return node;
}

static void
merge_remove_name(Merge *merge, TreeNode *dir, const char *name)
{
  TreeNode *node = tree_lookup(dir, name);

  if (node)
    tree_remove(merge->tree, node);
}

/* What the layer takes away from the directory @dir comes before what it puts there. */
static void
merge_apply_whiteouts(Merge *merge, int dir_fd, GArray *entries, TreeNode *dir)
{
  gboolean opaque = merge_is_opaque(merge, dir_fd);

  for (guint i = 0; i < entries->len && !opaque; i++)
    opaque = strcmp(g_array_index(entries, MergeEntry, i).name, WHITEOUT_OPAQUE) == 0;
  if (opaque)
    tree_remove_children(merge->tree, dir);
  /* From the end on: so tree_remove() is cheap. */
  for (guint i = entries->len; i-- > 0;) {
    MergeEntry *entry = &g_array_index(entries, MergeEntry, i);
    if (g_str_has_prefix(entry->name, WHITEOUT_PREFIX))
      entry->hides = entry->name + strlen(WHITEOUT_PREFIX);
    else if (merge_is_whiteout(merge, dir_fd, entry))
      entry->hides = entry->name;
    if (entry->hides)
      merge_remove_name(merge, dir, entry->hides);
  }
}

static gboolean merge_apply_directory(Merge *merge, const char *path, TreeNode *dir,
                                      GError **error);

static gboolean
merge_apply_entry(Merge *merge, int dir_fd, const MergeEntry *entry, const char *path,
                  TreeNode *dir, GError **error)
{
  if (entry->hides)
    return TRUE;
  g_autofree char *child =
      *path ? g_strconcat(path, "/", entry->name, NULL) : g_strdup(entry->name);
  g_autoptr(TreeInode) inode = merge_get_inode(merge, dir_fd, entry, child, error);
  if (!inode)
    return FALSE;
  TreeNode *node = merge_place_inode(merge, dir, entry->name, inode);
  return !S_ISDIR(entry->st.st_mode) || merge_apply_directory(merge, child, node, error);
}

static gboolean
merge_apply_directory(Merge *merge, const char *path, TreeNode *dir, GError **error)
{
  autofd int fd =
      util_openat2(merge->layer->fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

  if (fd < 0)
    return util_error_errno(error, "open the directory /%s", path);
  g_autoptr(GArray) entries = merge_read_directory(fd, path, error);
  gboolean ok = entries != NULL;
  if (ok)
    merge_apply_whiteouts(merge, fd, entries, dir);
  for (guint i = 0; ok && i < entries->len; i++)
    ok = merge_apply_entry(merge, fd, &g_array_index(entries, MergeEntry, i), path, dir, error);
  return ok;
}

static gboolean
merge_apply_layer(Merge *merge, GError **error)
{
  struct stat st;
  autofd int fd = openat(merge->layer->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0)
    return util_error_errno(error, "open the layer");
  g_autoptr(TreeInode) root = merge_make_inode(merge, fd, ".", "", &st, error);
  if (!root)
    return FALSE;
  tree_replace_inode(merge->tree, tree_root(merge->tree), root);
  return merge_apply_directory(merge, "", tree_root(merge->tree), error);
}

static TreeInode *
merge_copy_inode(Merge *merge, const TreeNode *node)
{
  const TreeInode *from = node->inode;
  TreeInode *to = g_hash_table_lookup(merge->links, from);

  if (to)
    return tree_inode_ref(to);
  to = tree_inode_new(from->mode);
  to->uid = from->uid;
  to->gid = from->gid;
  to->mtime = from->mtime;
  to->mtime_nsec = from->mtime_nsec;
  to->size = from->size;
  to->rdev_major = from->rdev_major;
  to->rdev_minor = from->rdev_minor;
  to->target = g_strdup(from->target);
  to->content_layer = merge->number;
  if (S_ISREG(from->mode))
    to->content_path = from->content_path ? g_strdup(from->content_path) : tree_node_path(node);
  /* The reference's own tree is not changed, and goes first. */
  to->xattrs = from->xattrs ? g_array_ref(from->xattrs) : NULL;
  g_hash_table_insert(merge->links, (gpointer)from, tree_inode_ref(to));
  return to;
}

static void
merge_apply_node(Merge *merge, const TreeNode *from, TreeNode *dir)
{
  gsize count;
  g_autoptr(TreeInode) inode = merge_copy_inode(merge, from);
  TreeNode *node = dir ? merge_place_inode(merge, dir, from->name, inode) : tree_root(merge->tree);

  if (!dir)
    tree_replace_inode(merge->tree, node, inode);
  if (!S_ISDIR(from->inode->mode))
    return;
  TreeNode **children = tree_children((TreeNode *)from, &count);
  for (gsize i = 0; i < count; i++)
    merge_apply_node(merge, children[i], node);
}

static gboolean
merge_apply_reference(Merge *merge, GError **error)
{
  g_autoptr(Image) image = image_open_reference(merge->layer->reference, error);

  if (!image)
    return FALSE;
  g_autoptr(Tree) tree = image_load_tree(image, error);
  if (!tree)
    return FALSE;
  merge_apply_node(merge, tree_root(tree), NULL);
  return TRUE;
}

static void
merge_unref_inode(gpointer inode)
{
  tree_inode_unref(inode);
}

static gboolean
merge_apply(Merge *merge, GError **error)
{
  const StackLayer *layer = merge->layer;
  gboolean ok;

  merge->links = layer->reference
                     ? g_hash_table_new_full(NULL, NULL, NULL, merge_unref_inode)
                     : g_hash_table_new_full(g_str_hash, g_str_equal, g_free, merge_unref_inode);
  ok = layer->reference ? merge_apply_reference(merge, error) : merge_apply_layer(merge, error);
  g_clear_pointer(&merge->links, g_hash_table_unref);
  if (!ok)
    g_prefix_error(error, "layer %s: ", layer->path);
  return ok;
}

Tree *
stack_merge(const Stack *stack, GError **error)
{
  g_autoptr(Tree) tree = tree_new();
  g_autofree char *names = g_malloc(XATTR_MAX);
  g_autofree char *value = g_malloc(XATTR_MAX);
  const char *marks = overlay_marks();

  for (guint i = stack->layers->len; i-- > 0;) {
    Merge merge = {tree, stack->layers->pdata[i], i, marks, NULL, names, value};
    gboolean is_empty = FALSE;
    if (!merge.layer->home) {
      if (!stack_layer_is_empty(merge.layer, &is_empty, error))
        return NULL;
      if (is_empty)
        continue;
      util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s is no layer of Podman's storage",
                 merge.layer->path);
      return NULL;
    }
    if (!merge_apply(&merge, error))
      return NULL;
  }
  return g_steal_pointer(&tree);
}
