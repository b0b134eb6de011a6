/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "unprivileged.h"

#include <string.h>
#include <sys/stat.h>

static gboolean
unprivileged_keeps_xattr(const TreeInode *inode, const char *name)
{
  if (g_str_has_prefix(name, "user."))
    return S_ISREG(inode->mode) || S_ISDIR(inode->mode);
  return strcmp(name, "security.capability") == 0 || g_str_has_prefix(name, "system.posix_acl_");
}

static void
unprivileged_trim_xattrs(TreeInode *inode)
{
  for (guint i = inode->xattrs ? inode->xattrs->len : 0; i-- > 0;)
    if (!unprivileged_keeps_xattr(inode, g_array_index(inode->xattrs, TreeXattr, i).name))
      g_array_remove_index(inode->xattrs, i);
  if (inode->xattrs && inode->xattrs->len == 0)
    tree_inode_clear_xattrs(inode);
}

void
unprivileged_trim_tree(Tree *tree)
{
  TreeNode *next;

  for (TreeNode *node = tree_root(tree); node; node = next) {
    next = tree_next(node, NULL);
    if (S_ISCHR(node->inode->mode) || S_ISBLK(node->inode->mode))
      tree_remove(tree, node);
    else
      unprivileged_trim_xattrs(node->inode);
  }
}
