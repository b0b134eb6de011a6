/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "layer-path.h"
#include "stage.h"
#include "util.h"

#include <limits.h>
#include <string.h>

/* As the kernel's MAXSYMLINKS. */
#define SYMLINKS_MAX 40

gboolean
layer_path_parse(const char *path, LayerPath *ret_path, GError **error)
{
  GString *clean = g_string_new(NULL);
  const char *start = path;
  const char *problem = NULL;

  while (*start != '\0' && problem == NULL) {
    gsize size = strcspn(start, "/");

    if (size == 2 && memcmp(start, "..", 2) == 0)
      problem = "`..' in a name";
    else if (size > NAME_MAX)
      problem = "a component of more than 255 bytes in a name";
    else if (size > 0 && !(size == 1 && *start == '.')) {
      if (clean->len > 0)
        g_string_append_c(clean, '/');
      g_string_append_len(clean, start, (gssize)size);
    }
    start += size;
    start += strspn(start, "/");
  }
  if (problem == NULL && clean->len > STAGE_PATH_MAX)
    problem =
        "a path of more than " G_STRINGIFY(STAGE_PATH_MAX) " bytes, too deep for the Nix store";
  if (problem != NULL) {
    g_string_free(clean, TRUE);
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s", problem);
  }
  ret_path->clean = g_string_free(clean, FALSE);
  ret_path->name = strrchr(ret_path->clean, '/');
  ret_path->name = ret_path->name != NULL ? ret_path->name + 1 : ret_path->clean;
  return TRUE;
}

/* mkdir(2) as root beneath a setgid directory hands its group on. */
static TreeNode *
make_directory(Tree *tree, TreeNode *parent, const char *name, guint32 mark)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFDIR | 0755);
  TreeNode *node;

  if ((parent->inode->mode & S_ISGID) != 0) {
    inode->mode |= S_ISGID;
    inode->gid = parent->inode->gid;
  }
  node = tree_insert(tree, parent, name, inode);
  node->mark = mark;
  return node;
}

/* A walk: what is left to resolve, of which the last @literal bytes are the entry's own name and
 * the rest comes from symlinks. */
typedef struct {
  Tree *tree;
  TreeNode *node;
  GString *rest;
  gsize literal;
  gboolean is_literal; /* the component taken last */
  gboolean dangling;   /* the last of the literal ones leads nowhere */
  guint links;
} Walk;

/* Takes the next component of the rest into @name; empty at the end. */
static gboolean
walk_take(Walk *walk, char *name)
{
  gsize size = strcspn(walk->rest->str, "/");

  if (size > NAME_MAX)
    return FALSE;
  walk->is_literal = walk->rest->len <= walk->literal;
  memcpy(name, walk->rest->str, size);
  name[size] = '\0';
  size += strspn(walk->rest->str + size, "/");
  g_string_erase(walk->rest, 0, (gssize)size);
  walk->literal = MIN(walk->literal, walk->rest->len);
  return TRUE;
}

static gboolean
walk_follow(Walk *walk, const TreeNode *link, GError **error)
{
  const char *target = link->inode->target;

  if (++walk->links > SYMLINKS_MAX || walk->rest->len + strlen(target) > 2 * PATH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "it leads through too many symlinks");
  g_string_prepend_c(walk->rest, '/');
  g_string_prepend(walk->rest, target);
  if (*target == '/') {
    walk->node = tree_root(walk->tree);
    g_string_erase(walk->rest, 0, (gssize)strspn(walk->rest->str, "/"));
  } else {
    walk->node = link->parent;
  }
  return TRUE;
}

static gboolean
walk_step(Walk *walk, const char *name, gboolean create, guint32 mark, GError **error)
{
  TreeNode *next;

  if (*name == '\0' || strcmp(name, ".") == 0)
    return TRUE;
  if (strcmp(name, "..") == 0) {
    walk->node = walk->node->parent != NULL ? walk->node->parent : walk->node;
    return TRUE;
  }
  next = tree_lookup(walk->node, name);
  if (next == NULL && create && walk->is_literal)
    next = make_directory(walk->tree, walk->node, name, mark);
  if (next == NULL) {
    walk->dangling = !walk->is_literal && walk->literal == 0;
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      walk->is_literal ? "a directory on its way is missing"
                                       : "it leads through a dangling symlink");
  }
  if (S_ISLNK(next->inode->mode))
    return walk_follow(walk, next, error);
  if (!S_ISDIR(next->inode->mode))
    return util_error(error, NIXSTORE_ERROR_INVALID, "`%s' on its way is not a directory", name);
  walk->node = next;
  return TRUE;
}

TreeNode *
layer_path_resolve_parent(Tree *tree, const LayerPath *path, gboolean create, guint32 mark,
                          gboolean *ret_dangling, GError **error)
{
  gsize size = (gsize)(path->name - path->clean);
  g_autoptr(GString) rest = g_string_new_len(path->clean, (gssize)size);
  Walk walk = {.tree = tree, .node = tree_root(tree), .rest = rest, .literal = rest->len};
  char name[NAME_MAX + 1];

  while (walk.rest->len > 0) {
    if (!walk_take(&walk, name)) {
      util_error(error, NIXSTORE_ERROR_INVALID, "it leads through an overlong symlink");
      return NULL;
    }
    if (!walk_step(&walk, name, create, mark, error)) {
      if (ret_dangling != NULL)
        *ret_dangling = walk.dangling;
      return NULL;
    }
  }
  return walk.node;
}
