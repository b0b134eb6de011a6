/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"
#include "hash.h"

#include <string.h>
#include <sys/stat.h>

/* Below this many entries a linear search beats building a hash table. */
#define HASH_THRESHOLD 16

/* A directory's entries. They are kept in arrival order and sorted when somebody asks for the
 * order: manifests come sorted (then nothing is ever sorted), tars in any order. The hash table
 * exists only once a large directory is searched by name. What is removed leaves a hole, so that
 * nothing is moved for each; the last of @nodes is none. */
typedef struct TreeChildren {
  GPtrArray *nodes;
  GHashTable *by_name; /* name -> TreeNode; NULL until needed */
  guint holes;         /* NULLs among @nodes, half of them at most */
  gboolean sorted;
} TreeChildren;

struct Tree {
  TreeNode *root;
  gsize count;
};

static TreeNode *
node_new(TreeNode *parent, const char *name, TreeInode *inode)
{
  TreeNode *node;
  gsize size = strlen(name) + 1;
  char *copy;

  /* One allocation a name: a tree may have a million of them. */
  node = g_malloc(sizeof *node + size);
  copy = (char *)(node + 1);
  memcpy(copy, name, size);
  node->parent = parent;
  node->inode = tree_inode_ref(inode);
  node->name = copy;
  node->children = NULL;
  node->mark = node->opaque = 0;
  inode->nlink++;
  return node;
}

static void
children_free(TreeChildren *children)
{
  g_clear_pointer(&children->by_name, g_hash_table_unref);
  g_ptr_array_free(children->nodes, TRUE);
  g_free(children);
}

/* Frees the @node alone, which has no children any more. */
static void
node_free(TreeNode *node)
{
  node->inode->nlink--;
  tree_inode_unref(node->inode);
  g_free(node);
}

/* Frees @top's descendants, and @top too if @with_top, leaf first and without recursion: a
 * stranger's tree may be deeper than the C stack. Returns how many nodes went. */
static gsize
free_beneath(TreeNode *top, gboolean with_top)
{
  TreeNode *node = top;
  gsize freed = 0;

  for (;;) {
    TreeNode *parent;
    gboolean last = node == top;

    if (node->children != NULL) {
      GPtrArray *nodes = node->children->nodes;
      if (nodes->len > 0) {
        TreeNode *child = g_ptr_array_remove_index_fast(nodes, nodes->len - 1);
        node = child != NULL ? child : node;
        continue;
      }
      children_free(node->children);
      node->children = NULL;
    }
    if (last && !with_top)
      return freed;
    parent = node->parent;
    node_free(node);
    freed++;
    if (last)
      return freed;
    node = parent;
  }
}

Tree *
tree_new(void)
{
  Tree *tree = g_new0(Tree, 1);
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFDIR | 0755);

  tree->root = node_new(NULL, "", inode);
  tree->count = 1;
  return tree;
}

void
tree_free(Tree *tree)
{
  if (tree == NULL)
    return;
  free_beneath(tree->root, TRUE);
  g_free(tree);
}

TreeNode *
tree_root(Tree *tree)
{
  return tree->root;
}

gsize
tree_count(Tree *tree)
{
  return tree->count;
}

TreeInode *
tree_inode_new(guint32 mode)
{
  TreeInode *inode = g_new0(TreeInode, 1);

  inode->refs = 1;
  inode->mode = mode;
  return inode;
}

TreeInode *
tree_inode_ref(TreeInode *inode)
{
  inode->refs++;
  return inode;
}

void
tree_inode_unref(TreeInode *inode)
{
  if (inode == NULL || --inode->refs > 0)
    return;
  g_free(inode->target);
  g_free(inode->content_path);
  tree_inode_clear_xattrs(inode);
  g_free(inode);
}

gboolean
tree_name_is_valid(const char *name)
{
  gsize size = strlen(name);

  return size > 0 && size <= 255 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
         strcmp(name, "..") != 0;
}

static TreeNode *
children_lookup(TreeChildren *children, const char *name)
{
  GPtrArray *nodes = children->nodes;

  if (nodes->len < HASH_THRESHOLD) {
    for (guint i = 0; i < nodes->len; i++) {
      TreeNode *node = g_ptr_array_index(nodes, i);
      if (node != NULL && strcmp(node->name, name) == 0)
        return node;
    }
    return NULL;
  }
  if (children->by_name == NULL) {
    children->by_name = g_hash_table_new(hash_string, g_str_equal);
    for (guint i = 0; i < nodes->len; i++) {
      TreeNode *node = g_ptr_array_index(nodes, i);
      if (node != NULL)
        g_hash_table_insert(children->by_name, (char *)node->name, node);
    }
  }
  return g_hash_table_lookup(children->by_name, name);
}

TreeNode *
tree_lookup(TreeNode *dir, const char *name)
{
  TreeChildren *children = dir->children;
  GPtrArray *nodes;

  if (children == NULL || children->nodes->len == 0)
    return NULL;
  nodes = children->nodes;
  /* What comes in order is looked up in order too: beyond the last name there is nothing. */
  if (children->sorted) {
    TreeNode *last = g_ptr_array_index(nodes, nodes->len - 1);
    int order = strcmp(name, last->name);
    if (order >= 0)
      return order == 0 ? last : NULL;
  }
  return children_lookup(children, name);
}

TreeNode *
tree_lookup_path(Tree *tree, const char *path)
{
  TreeNode *node = tree->root;
  g_autofree char *copy = g_strdup(path);
  char *rest = copy, *name;

  while (node != NULL && (name = strsep(&rest, "/")) != NULL) {
    if (*name == '\0' || strcmp(name, ".") == 0)
      continue;
    node = tree_lookup(node, name);
  }
  return node;
}

TreeNode *
tree_insert(Tree *tree, TreeNode *dir, const char *name, TreeInode *inode)
{
  TreeChildren *children = dir->children;
  TreeNode *node = node_new(dir, name, inode);

  if (children == NULL) {
    children = dir->children = g_new0(TreeChildren, 1);
    children->nodes = g_ptr_array_new();
    children->sorted = TRUE;
  }
  if (children->sorted && children->nodes->len > 0) {
    TreeNode *last = g_ptr_array_index(children->nodes, children->nodes->len - 1);
    children->sorted = strcmp(last->name, name) < 0;
  }
  node->position = children->nodes->len;
  g_ptr_array_add(children->nodes, node);
  if (children->by_name != NULL)
    g_hash_table_insert(children->by_name, (char *)node->name, node);
  tree->count++;
  return node;
}

static void
children_close_holes(TreeChildren *children)
{
  guint filled = 0;

  for (guint i = 0; i < children->nodes->len; i++) {
    TreeNode *node = g_ptr_array_index(children->nodes, i);
    if (node == NULL)
      continue;
    node->position = filled;
    children->nodes->pdata[filled++] = node;
  }
  g_ptr_array_set_size(children->nodes, (gint)filled);
  children->holes = 0;
}

void
tree_remove(Tree *tree, TreeNode *node)
{
  TreeChildren *children = node->parent->children;
  GPtrArray *nodes = children->nodes;

  nodes->pdata[node->position] = NULL;
  children->holes++;
  while (nodes->len > 0 && nodes->pdata[nodes->len - 1] == NULL) {
    g_ptr_array_set_size(nodes, (gint)nodes->len - 1);
    children->holes--;
  }
  if (children->holes > nodes->len / 2)
    children_close_holes(children);
  if (children->by_name != NULL)
    g_hash_table_remove(children->by_name, node->name);
  tree->count -= free_beneath(node, TRUE);
}

void
tree_remove_children(Tree *tree, TreeNode *dir)
{
  tree->count -= free_beneath(dir, FALSE);
}

void
tree_replace_inode(Tree *tree, TreeNode *node, TreeInode *inode)
{
  TreeInode *old = node->inode;

  if (!S_ISDIR(old->mode) || !S_ISDIR(inode->mode))
    tree_remove_children(tree, node);
  node->inode = tree_inode_ref(inode);
  inode->nlink++;
  old->nlink--;
  tree_inode_unref(old);
}

static int
compare_nodes(gconstpointer a, gconstpointer b)
{
  const TreeNode *const *left = a, *const *right = b;

  return strcmp((*left)->name, (*right)->name);
}

TreeNode **
tree_children(TreeNode *dir, gsize *ret_count)
{
  TreeChildren *children = dir->children;

  if (children == NULL || children->nodes->len == 0) {
    *ret_count = 0;
    return NULL;
  }
  if (children->holes > 0)
    children_close_holes(children);
  if (!children->sorted) {
    g_ptr_array_sort(children->nodes, compare_nodes);
    for (guint i = 0; i < children->nodes->len; i++)
      ((TreeNode *)children->nodes->pdata[i])->position = i;
    children->sorted = TRUE;
  }
  *ret_count = children->nodes->len;
  return (TreeNode **)children->nodes->pdata;
}

TreeNode *
tree_next_beside(TreeNode *node, TreeNode *top)
{
  gsize count;

  for (; node != top && node->parent != NULL; node = node->parent) {
    const TreeChildren *siblings = node->parent->children;

    /* Whoever removes as they walk leaves holes, but behind them. */
    if (!siblings->sorted)
      tree_children(node->parent, &count);
    for (guint next = node->position + 1; next < siblings->nodes->len; next++)
      if (siblings->nodes->pdata[next] != NULL)
        return siblings->nodes->pdata[next];
  }
  return NULL;
}

TreeNode *
tree_next(TreeNode *node, TreeNode *top)
{
  gsize count;
  TreeNode **nodes = tree_children(node, &count);

  return count > 0 ? nodes[0] : tree_next_beside(node, top);
}

guint64
tree_content_size(Tree *tree)
{
  guint64 size = 0;

  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL))
    if (S_ISREG(node->inode->mode))
      size += node->inode->size / MAX(node->inode->nlink, 1);
  return size;
}

void
tree_node_append_path(const TreeNode *node, GString *path)
{
  gsize start = path->len, size = 0, end;

  for (const TreeNode *n = node; n->parent != NULL; n = n->parent)
    size += strlen(n->name) + (n->parent->parent != NULL ? 1 : 0);
  g_string_set_size(path, start + size);
  end = path->len;
  for (const TreeNode *n = node; n->parent != NULL; n = n->parent) {
    gsize length = strlen(n->name);

    end -= length;
    memcpy(path->str + end, n->name, length);
    if (n->parent->parent != NULL)
      path->str[--end] = '/';
  }
}

char *
tree_node_path(const TreeNode *node)
{
  GString *path = g_string_new(NULL);

  tree_node_append_path(node, path);
  return g_string_free(path, FALSE);
}

void
tree_xattr_clear(gpointer data)
{
  TreeXattr *xattr = data;

  g_free(xattr->name);
  g_free(xattr->value);
}

/* Where @name is, or would have to be, in the sorted array. */
static guint
xattr_position(const GArray *xattrs, const char *name, gboolean *ret_found)
{
  guint i;

  *ret_found = FALSE;
  for (i = 0; i < xattrs->len; i++) {
    int order = strcmp(g_array_index(xattrs, TreeXattr, i).name, name);
    if (order >= 0) {
      *ret_found = order == 0;
      break;
    }
  }
  return i;
}

void
tree_inode_set_xattr(TreeInode *inode, const char *name, const void *value, gsize size)
{
  gboolean found = FALSE;
  guint position = inode->xattrs != NULL ? xattr_position(inode->xattrs, name, &found) : 0;
  TreeXattr xattr = {NULL, NULL, size};

  if (found)
    g_array_remove_index(inode->xattrs, position);
  if (value == NULL) {
    if (found && inode->xattrs->len == 0)
      tree_inode_clear_xattrs(inode);
    return;
  }
  if (inode->xattrs == NULL) {
    inode->xattrs = g_array_new(FALSE, FALSE, sizeof(TreeXattr));
    g_array_set_clear_func(inode->xattrs, tree_xattr_clear);
  }
  xattr.name = g_strdup(name);
  xattr.value = g_malloc(size + 1);
  memcpy(xattr.value, value, size);
  xattr.value[size] = '\0';
  g_array_insert_val(inode->xattrs, position, xattr);
}

const TreeXattr *
tree_inode_get_xattr(const TreeInode *inode, const char *name)
{
  gboolean found;
  guint position;

  if (inode->xattrs == NULL)
    return NULL;
  position = xattr_position(inode->xattrs, name, &found);
  return found ? &g_array_index(inode->xattrs, TreeXattr, position) : NULL;
}

void
tree_inode_clear_xattrs(TreeInode *inode)
{
  g_clear_pointer(&inode->xattrs, g_array_unref);
}
