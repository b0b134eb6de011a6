/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file tree in memory: names (TreeNode) that lead to inodes (TreeInode), as a directory's entries
 * lead to inodes on disk. The manifest is read into one, layers are applied to one, the index is
 * written from one. It knows nothing of where it came from. Stands on hash and GLib.
 *
 * Not thread-safe. A name may hold any byte but '/' and NUL, and is neither "", "." nor "..".
 * Order is everywhere that of strcmp() on names, depth first, a directory before its children:
 * the order of whole paths when '/' sorts before every other byte.
 *
 * A stranger's tree: no order of names, insertions and removals costs more than about linear time.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct Tree Tree;
typedef struct TreeNode TreeNode;
typedef struct TreeInode TreeInode;

typedef struct {
  char *name;    /* whole: "security.capability" */
  guint8 *value; /* NUL-terminated beyond @size for convenience */
  gsize size;
} TreeXattr;

/* Frees what the TreeXattr *@xattr holds: the clear function of an array of them. */
void tree_xattr_clear(gpointer xattr);

struct TreeInode {
  guint32 refs;  /* nodes and callers that hold it */
  guint32 nlink; /* nodes in the tree that lead here; 1 for a directory */
  guint32 mode;  /* type and permissions, as st_mode */
  guint32 uid, gid;
  guint32 mtime_nsec;             /* 0 to 999,999,999 */
  gint64 mtime;                   /* seconds since the epoch; may be negative */
  guint64 size;                   /* regular file: bytes; symlink: strlen (target); else 0 */
  guint32 rdev_major, rdev_minor; /* devices */
  guint32 mark;                   /* the walker's own, for instance a serial number; 0 at first */
  guint64 nid;                    /* the index writer's own */
  char *target;                   /* symlink: where to; owned; NULL until known */
  GArray *xattrs; /* of TreeXattr, sorted by name; owned; NULL when there are none */
  /* Regular files with content: where that content is. @content_path is relative to data directory
   * number @content_layer, without a leading slash; owned. NULL: the path of the first name (in
   * tree order) that leads to this inode. */
  char *content_path;
  guint32 content_layer;
  guint64 content_offset; /* where the content starts in a file that has many; stage.h */
};

struct TreeNode {
  TreeNode *parent;              /* NULL for the root */
  TreeInode *inode;              /* never NULL */
  const char *name;              /* "" for the root; lives as long as the tree */
  struct TreeChildren *children; /* directories with entries; private to tree.c */
  guint32 mark, opaque;          /* the caller's own; 0 at first */
  guint32 position;              /* among its parent's children; private to tree.c */
};

/* A tree with a root directory (0755, 0:0, mtime 0). */
Tree *tree_new(void);
void tree_free(Tree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tree, tree_free)

TreeNode *tree_root(Tree *tree);

/* Names in the tree, the root counted. */
gsize tree_count(Tree *tree);

/* Bytes of its files, linked ones counted once: about, as a walk for the first names would cost
 * more. */
guint64 tree_content_size(Tree *tree);

/* A new inode with one reference, the caller's; @mode holds the type too. */
TreeInode *tree_inode_new(guint32 mode);
TreeInode *tree_inode_ref(TreeInode *inode);
void tree_inode_unref(TreeInode *inode);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TreeInode, tree_inode_unref)

/* Whether @name may stand in a tree: 1 to 255 bytes, no '/', neither "." nor "..". */
gboolean tree_name_is_valid(const char *name);

/* The entry of directory @dir called @name, or NULL. */
TreeNode *tree_lookup(TreeNode *dir, const char *name);

/* The node at @path (relative, components separated by '/', "" or "." for the root), without
 * following symlinks; NULL when there is none. */
TreeNode *tree_lookup_path(Tree *tree, const char *path);

/* Adds the entry @name to @dir, leading to @inode (a further reference is taken; a second node for
 * one inode is a hard link). @dir must be a directory, must not hold @name, @inode must not be a
 * directory that has a node already: these are the caller's to check. Cheap when names come sorted.
 */
TreeNode *tree_insert(Tree *tree, TreeNode *dir, const char *name, TreeInode *inode);

/* Takes @node, which is not the root, and all beneath it out of the tree and frees it. */
void tree_remove(Tree *tree, TreeNode *node);

/* Takes all of @dir's entries out. */
void tree_remove_children(Tree *tree, TreeNode *dir);

/* Makes @node lead to @inode instead (a further reference is taken); its children go unless both
 * the old and the new inode are directories. */
void tree_replace_inode(Tree *tree, TreeNode *node, TreeInode *inode);

/* @dir's entries in order. The array is the tree's and valid until @dir changes; *ret_count may be
 * 0 (then the result is NULL). */
TreeNode **tree_children(TreeNode *dir, gsize *ret_count);

/* The node that follows @node in order, beneath @top (NULL: the whole tree), or NULL at the end:
 * for (n = tree_root (t); n; n = tree_next (n, NULL)). */
TreeNode *tree_next(TreeNode *node, TreeNode *top);

/* The same, but passing over what is beneath @node. */
TreeNode *tree_next_beside(TreeNode *node, TreeNode *top);

/* "usr/bin/env", without a leading slash; "" for the root. Caller frees. tree_node_append_path()
 * appends to @path instead. */
char *tree_node_path(const TreeNode *node);
void tree_node_append_path(const TreeNode *node, GString *path);

/* Sets, or with @value NULL removes, an extended attribute; the value is copied. */
void tree_inode_set_xattr(TreeInode *inode, const char *name, const void *value, gsize size);
const TreeXattr *tree_inode_get_xattr(const TreeInode *inode, const char *name);
/* Removes every xattr. */
void tree_inode_clear_xattrs(TreeInode *inode);
