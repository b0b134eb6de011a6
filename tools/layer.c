/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "layer.h"
#include "layer-path.h"
#include "tar-reader.h"
#include "util.h"
#include "whiteout.h"

#include <limits.h>
#include <linux/limits.h>
#include <string.h>

/* The last second that Go's 64-bit nanoseconds reach. */
#define TIME_MAX (G_MAXINT64 / 1000000000)
/* What one EROFS inode holds, with room to spare. */
#define XATTR_INODE_LIMIT (128 * 1024)
/* Linux's dev_t. */
#define MAJOR_MAX 0xfff
#define MINOR_MAX 0xfffff

Tree *
layer_new_tree(void)
{
  Tree *tree = tree_new();

  tree_root(tree)->inode->mode = S_IFDIR | 0555;
  return tree;
}

static gboolean
invalid(GError **error, const char *text)
{
  return util_error(error, NIXSTORE_ERROR_INVALID, "%s", text);
}

/* Applies the header's time as Go's archive code does. */
static void
set_time(TreeInode *inode, const TarEntry *entry)
{
  gboolean representable = entry->mtime >= 0 && entry->mtime < TIME_MAX;

  inode->mtime = representable || S_ISLNK(inode->mode) ? entry->mtime : 0;
  inode->mtime_nsec = representable || S_ISLNK(inode->mode) ? entry->mtime_nsec : 0;
}

/* Whether Linux knows the name space of the xattr @name: others, as macOS's com.apple.*, are in
 * many images and get lost there as here. */
static gboolean
xattr_is_kept(const char *name)
{
  if (g_str_has_prefix(name, "security."))
    return strcmp(name, "security.selinux") != 0;
  return g_str_has_prefix(name, "user.") || g_str_has_prefix(name, "trusted.") ||
         strcmp(name, "system.posix_acl_access") == 0 ||
         strcmp(name, "system.posix_acl_default") == 0;
}

/* No kernel could list more bytes of names, and no manifest that is read may have them. */
static gboolean
xattrs_are_too_many(const TreeInode *inode)
{
  gsize names = 0, values = 0;

  for (guint i = 0; inode->xattrs != NULL && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    names += strlen(xattr->name) + 1;
    values += xattr->size;
  }
  return names > XATTR_LIST_MAX || names + values > XATTR_INODE_LIMIT;
}

static gboolean
set_xattrs(LayerTarget *target, TreeInode *inode, const TarEntry *entry, GError **error)
{
  if (entry->xattrs == NULL)
    return TRUE;
  for (guint i = 0; i < entry->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(entry->xattrs, TreeXattr, i);

    if (!xattr_is_kept(xattr->name))
      continue;
    /* overlayfs's own marks. One overlay can be told to show them and not obey them, but not two
     * above each other, as kernels before 6.16 need. */
    if (g_str_has_prefix(xattr->name, "trusted.overlay."))
      return invalid(error, "an xattr of overlayfs (trusted.overlay.*), which no image may have");
    /* xattr(7): only there may ordinary users have them. Stock Podman refuses these too. */
    if (g_str_has_prefix(xattr->name, "user.") && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
      return invalid(error, "a user.* xattr on what is neither a file nor a directory");
    if (strlen(xattr->name) > XATTR_NAME_MAX || xattr->size > XATTR_SIZE_MAX)
      return invalid(error, "an xattr that is too long for Linux");
    target->xattr_bytes += strlen(xattr->name) + xattr->size;
    tree_inode_set_xattr(inode, xattr->name, xattr->value, xattr->size);
  }
  if (xattrs_are_too_many(inode) || target->xattr_bytes > LAYER_XATTR_BYTES_MAX)
    return invalid(error, "too many bytes of xattrs");
  return TRUE;
}

/* chown(2) takes -1 for "leave it", and Linux has 32 bits. */
static gboolean
check_owner(const TarEntry *entry, GError **error)
{
  if (entry->uid < 0 || entry->uid >= G_MAXUINT32 || entry->gid < 0 || entry->gid >= G_MAXUINT32)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "an owner that Linux cannot have: %" G_GINT64_FORMAT ":%" G_GINT64_FORMAT,
                      entry->uid, entry->gid);
  return TRUE;
}

/* All that a header says of an inode, of which the type is set. */
static gboolean
set_attributes(LayerTarget *target, TreeInode *inode, const TarEntry *entry, GError **error)
{
  inode->uid = (guint32)entry->uid;
  inode->gid = (guint32)entry->gid;
  inode->mode = (inode->mode & S_IFMT) | (S_ISLNK(inode->mode) ? 0777 : entry->mode);
  set_time(inode, entry);
  return set_xattrs(target, inode, entry, error);
}

/* Whether all beneath @dir is this layer's already. A marker costs its entry nothing, and so must
 * cost us nothing where it changes nothing. */
static gboolean
is_opaque(const LayerTarget *target, const TreeNode *dir)
{
  for (; dir != NULL; dir = dir->parent)
    if (dir->opaque == target->layer)
      return TRUE;
  return FALSE;
}

/* Takes out of @dir all that this layer did not put there. What it put there only by naming
 * something beneath is a directory with nothing of the lower layers. */
static void
make_opaque(LayerTarget *target, TreeNode *dir)
{
  g_autoptr(GPtrArray) below = g_ptr_array_new();
  guint32 layer = target->layer;
  TreeNode *node, *next;

  if (is_opaque(target, dir))
    return;
  for (node = tree_next(dir, dir); node != NULL; node = next) {
    next = node->opaque == layer ? tree_next_beside(node, dir) : tree_next(node, dir);
    g_ptr_array_add(below, node);
  }
  dir->opaque = layer;
  /* Children before parents. */
  for (guint i = below->len; i-- > 0;) {
    gsize count;

    node = g_ptr_array_index(below, i);
    if (node->mark == layer)
      continue;
    tree_children(node, &count);
    if (count == 0) {
      tree_remove(target->tree, node);
    } else {
      g_autoptr(TreeInode) implied = tree_inode_new(S_IFDIR | 0755);
      tree_replace_inode(target->tree, node, implied);
    }
  }
}

/* vfs walks a directory to be made opaque without following a last symlink: then there is nothing
 * to walk, nor where a file is. */
static gboolean
opaque_is_void(LayerTarget *target, const LayerPath *path)
{
  gsize size = path->name > path->clean ? (gsize)(path->name - path->clean - 1) : 0;
  g_autofree char *literal = g_strndup(path->clean, size);
  const TreeNode *named = tree_lookup_path(target->tree, literal);

  return named != NULL && !S_ISDIR(named->inode->mode);
}

static void
remove_entry(LayerTarget *target, TreeNode *parent, const char *name)
{
  TreeNode *node = tree_lookup(parent, name);

  if (node != NULL)
    tree_remove(target->tree, node);
}

static gboolean
apply_whiteout(LayerTarget *target, const LayerPath *path, GError **error)
{
  gboolean dangling = FALSE;
  TreeNode *parent;
  const char *name = path->name + strlen(WHITEOUT_PREFIX);

  if (strcmp(path->name, WHITEOUT_OPAQUE) == 0 && opaque_is_void(target, path))
    return TRUE;
  parent = layer_path_resolve_parent(target->tree, path, TRUE, target->layer, &dangling, error);
  if (parent == NULL) {
    if (dangling)
      g_clear_error(error); /* there is nothing to hide */
    return dangling;
  }
  if (strcmp(path->name, WHITEOUT_OPAQUE) == 0) {
    make_opaque(target, parent);
    return TRUE;
  }
  if (!tree_name_is_valid(name))
    return invalid(error, "a whiteout of its own directory or of nothing");
  remove_entry(target, parent, name);
  return TRUE;
}

/* The place for a new inode called @name in @parent: whatever is there goes. */
static void
add_entry(LayerTarget *target, TreeNode *parent, const char *name, TreeInode *inode)
{
  TreeNode *node = tree_lookup(parent, name);

  if (node != NULL)
    tree_replace_inode(target->tree, node, inode);
  else
    node = tree_insert(target->tree, parent, name, inode);
  node->mark = target->layer;
}

static gboolean
apply_directory(LayerTarget *target, TreeNode *parent, const char *name, const TarEntry *entry,
                GError **error)
{
  TreeNode *node = *name == '\0' ? parent : tree_lookup(parent, name);

  if (node == NULL || !S_ISDIR(node->inode->mode)) {
    g_autoptr(TreeInode) inode = tree_inode_new(S_IFDIR);
    add_entry(target, parent, name, inode);
    return set_attributes(target, inode, entry, error);
  }
  node->mark = target->layer;
  return set_attributes(target, node->inode, entry, error);
}

/* Puts the content of the entry at hand on the stage. What no piece covers is a hole: it costs
 * nobody any bytes of the archive, and is counted here. */
static gboolean
stage_content(LayerTarget *target, TarReader *reader, const TreeInode *inode, GError **error)
{
  guint64 end = 0;

  for (;;) {
    const guint8 *piece;
    gsize size;
    guint64 offset;

    if (!tar_reader_read(reader, &piece, &size, &offset, error))
      return FALSE;
    if (size == 0)
      return blob_budget_take(target->budget, inode->size - end, error);
    if (!blob_budget_take(target->budget, offset - end, error) ||
        !stage_write(target->stage, inode, piece, size, offset, error))
      return FALSE;
    end = offset + size;
  }
}

static gboolean
apply_file(LayerTarget *target, TarReader *reader, TreeNode *parent, const char *name,
           const TarEntry *entry, GError **error)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG);

  if (entry->size > G_MAXINT64 / 2)
    return invalid(error, "a file of an impossible size");
  if (!set_attributes(target, inode, entry, error))
    return FALSE;
  inode->size = entry->size;
  if (!stage_reserve(target->stage, inode, error) || !stage_content(target, reader, inode, error))
    return FALSE;
  add_entry(target, parent, name, inode);
  return TRUE;
}

static gboolean
apply_symlink(LayerTarget *target, TreeNode *parent, const char *name, const TarEntry *entry,
              GError **error)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFLNK | 0777);
  gsize size = strlen(entry->link);

  if (size == 0 || size >= PATH_MAX)
    return invalid(error, "a symlink to an empty or overlong target");
  target->target_bytes += size;
  if (target->target_bytes > LAYER_TARGET_BYTES_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "the targets of symlinks have more than %d MiB together",
                      LAYER_TARGET_BYTES_MAX / (1024 * 1024));
  inode->target = g_strdup(entry->link);
  inode->size = size;
  if (!set_attributes(target, inode, entry, error))
    return FALSE;
  add_entry(target, parent, name, inode);
  return TRUE;
}

static gboolean
apply_device(LayerTarget *target, TreeNode *parent, const char *name, const TarEntry *entry,
             GError **error)
{
  guint32 type = entry->type == TAR_CHAR ? S_IFCHR : entry->type == TAR_BLOCK ? S_IFBLK : S_IFIFO;
  g_autoptr(TreeInode) inode = tree_inode_new(type);

  if (type == S_IFCHR && entry->major == 0 && entry->minor == 0) {
    remove_entry(target, parent, name);
    return TRUE;
  }
  if (++target->devices > LAYER_DEVICES_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "more than %d devices and FIFOs",
                      LAYER_DEVICES_MAX);
  if (type != S_IFIFO) {
    if (entry->major < 0 || entry->major > MAJOR_MAX || entry->minor < 0 ||
        entry->minor > MINOR_MAX)
      return invalid(error, "a device number that Linux cannot have");
    inode->rdev_major = (guint32)entry->major;
    inode->rdev_minor = (guint32)entry->minor;
  }
  if (!set_attributes(target, inode, entry, error))
    return FALSE;
  add_entry(target, parent, name, inode);
  return TRUE;
}

static TreeNode *
find_link_target(LayerTarget *target, const char *link, GError **error)
{
  g_autofree char *clean = NULL;
  LayerPath path;
  TreeNode *parent, *node;

  if (!layer_path_parse(link, &path, error)) {
    g_prefix_error(error, "a hard link to `%s': ", link);
    return NULL;
  }
  clean = path.clean;
  parent = layer_path_resolve_parent(target->tree, &path, FALSE, 0, NULL, error);
  if (parent == NULL) {
    g_prefix_error(error, "a hard link to `%s': ", link);
    return NULL;
  }
  node = *path.name == '\0' ? parent : tree_lookup(parent, path.name);
  if (node == NULL || S_ISDIR(node->inode->mode)) {
    util_error(error, NIXSTORE_ERROR_INVALID, "a hard link to `%s', which %s", link,
               node == NULL ? "is not there" : "is a directory");
    return NULL;
  }
  return node;
}

static gboolean
apply_hardlink(LayerTarget *target, TreeNode *parent, const char *name, const TarEntry *entry,
               GError **error)
{
  g_autoptr(TreeInode) inode = NULL;
  TreeNode *node;

  remove_entry(target, parent, name);
  node = find_link_target(target, entry->link, error);
  if (node == NULL)
    return FALSE;
  inode = tree_inode_ref(node->inode);
  add_entry(target, parent, name, inode);
  /* A change of owner costs a file its capabilities, as chown(2) says. */
  if (S_ISREG(inode->mode) && (inode->uid != entry->uid || inode->gid != entry->gid))
    tree_inode_set_xattr(inode, "security.capability", NULL, 0);
  if (!S_ISLNK(inode->mode))
    return set_attributes(target, inode, entry, error);
  inode->uid = (guint32)entry->uid;
  inode->gid = (guint32)entry->gid;
  return set_xattrs(target, inode, entry, error);
}

static gboolean
apply_typed(LayerTarget *target, TarReader *reader, TreeNode *parent, const char *name,
            const TarEntry *entry, GError **error)
{
  if (*name == '\0' && entry->type != TAR_DIRECTORY)
    return invalid(error, "the root must be a directory");
  switch (entry->type) {
  case TAR_DIRECTORY:
    return apply_directory(target, parent, name, entry, error);
  case TAR_FILE:
    return apply_file(target, reader, parent, name, entry, error);
  case TAR_SYMLINK:
    return apply_symlink(target, parent, name, entry, error);
  case TAR_HARDLINK:
    return apply_hardlink(target, parent, name, entry, error);
  default:
    return apply_device(target, parent, name, entry, error);
  }
}

/* A directory of a whiteout's name would hide things from whoever mounts the tree. */
static gboolean
check_parents(const LayerPath *path, GError **error)
{
  for (const char *p = path->clean; p < path->name; p = strchr(p, '/') + 1)
    if (g_str_has_prefix(p, WHITEOUT_PREFIX))
      return invalid(error, "a directory whose name is a whiteout's");
  return TRUE;
}

static gboolean
apply_entry(LayerTarget *target, TarReader *reader, const TarEntry *entry, GError **error)
{
  g_autofree char *clean = NULL;
  LayerPath path;
  TreeNode *parent;

  if (!layer_path_parse(entry->path, &path, error))
    return FALSE;
  clean = path.clean;
  if (g_str_has_prefix(clean, WHITEOUT_META_PREFIX) && strcmp(clean, WHITEOUT_OPAQUE) != 0)
    return TRUE;
  if (!check_parents(&path, error) || !check_owner(entry, error))
    return FALSE;
  if (g_str_has_prefix(path.name, WHITEOUT_PREFIX))
    return apply_whiteout(target, &path, error);
  parent = layer_path_resolve_parent(target->tree, &path, TRUE, target->layer, NULL, error);
  if (parent == NULL)
    return FALSE;
  return apply_typed(target, reader, parent, path.name, entry, error);
}

static gboolean
count_entry(LayerTarget *target, GError **error)
{
  if (++target->entries > LAYER_ENTRIES_MAX || tree_count(target->tree) > LAYER_ENTRIES_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "the image has more than %d entries",
                      LAYER_ENTRIES_MAX);
  return TRUE;
}

gboolean
layer_apply_tar(LayerTarget *target, TarFill fill, void *data, GError **error)
{
  g_autoptr(TarReader) reader = tar_reader_new(fill, NULL, data);
  const TarEntry *entry;

  target->layer++;
  for (;;) {
    if (!tar_reader_next(reader, &entry, error))
      return FALSE;
    if (entry == NULL)
      return TRUE;
    if (!count_entry(target, error) || !apply_entry(target, reader, entry, error)) {
      g_prefix_error(error, "%s: ", entry->path);
      return FALSE;
    }
  }
}

static gboolean
fill_from_stream(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  return blob_stream_next(data, ret_piece, ret_size, error);
}

gboolean
layer_apply(LayerTarget *target, BlobStream *stream, GError **error)
{
  return layer_apply_tar(target, fill_from_stream, stream, error) &&
         blob_stream_drain(stream, error);
}
