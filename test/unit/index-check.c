/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-check.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "util.h"

int
index_check_write(Tree *tree, const char *path)
{
  g_autoptr(GError) error = NULL;
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint(fd, >=, 0);
  if (!index_write(tree, fd, NULL, 0, &error))
    g_error("%s", error->message);
  return fd;
}

GHashTable *
index_check_redirects(Tree *tree)
{
  GHashTable *redirects = g_hash_table_new_full(NULL, NULL, NULL, g_free);

  for (TreeNode *n = tree_root(tree); n != NULL; n = tree_next(n, NULL)) {
    g_autofree char *path = tree_node_path(n);
    if (S_ISREG(n->inode->mode) && n->inode->size > 0 &&
        !g_hash_table_contains(redirects, n->inode))
      g_hash_table_insert(redirects, n->inode, g_strconcat("/", path, NULL));
  }
  return redirects;
}

static void
check_stat(const Index *index, const TreeNode *node, guint32 links)
{
  const TreeInode *inode = node->inode;
  IndexStat st;

  g_assert_cmpint(index_stat(index, inode->nid, &st), ==, 0);
  g_assert_cmpuint(st.nid, ==, inode->nid);
  g_assert_cmpuint(st.mode, ==, inode->mode);
  g_assert_cmpuint(st.nlink, ==, links);
  g_assert_cmpuint(st.uid, ==, inode->uid);
  g_assert_cmpuint(st.gid, ==, inode->gid);
  g_assert_cmpint(st.mtime, ==, inode->mtime);
  g_assert_cmpuint(st.mtime_nsec, ==, inode->mtime_nsec);
  g_assert_cmpuint(st.rdev_major, ==, inode->rdev_major);
  g_assert_cmpuint(st.rdev_minor, ==, inode->rdev_minor);
  if (!S_ISDIR(inode->mode))
    g_assert_cmpuint(st.size, ==, inode->size);
}

static void
check_xattrs(const Index *index, const TreeInode *inode)
{
  char list[65536], value[65536];
  gssize size = index_listxattr(index, inode->nid, list, sizeof list);
  guint count = inode->xattrs != NULL ? inode->xattrs->len : 0;

  g_assert_cmpint(size, >=, 0);
  g_assert_cmpint(index_listxattr(index, inode->nid, NULL, 0), ==, size);
  if (size > 0)
    g_assert_cmpint(index_listxattr(index, inode->nid, list, (gsize)size - 1), ==, -ERANGE);
  for (const char *name = list; name < list + size; name += strlen(name) + 1) {
    g_assert_nonnull(tree_inode_get_xattr(inode, name));
    count--;
  }
  g_assert_cmpuint(count, ==, 0);
  for (guint i = 0; inode->xattrs != NULL && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);

    size = index_getxattr(index, inode->nid, xattr->name, value, sizeof value);
    g_assert_cmpint(size, >=, 0);
    g_assert_cmpmem(value, (gsize)size, xattr->value, xattr->size);
    g_assert_cmpint(index_getxattr(index, inode->nid, xattr->name, NULL, 0), ==, size);
    if (size > 1)
      g_assert_cmpint(index_getxattr(index, inode->nid, xattr->name, value, (gsize)size - 1), ==,
                      -ERANGE);
  }
  g_assert_cmpint(index_getxattr(index, inode->nid, "user.no-such", value, sizeof value), ==,
                  -ENODATA);
  g_assert_cmpint(index_getxattr(index, inode->nid, "system.other", value, sizeof value), ==,
                  -ENODATA);
}

static void
check_content(const Index *index, const TreeInode *inode, const char *redirect)
{
  char buffer[PATH_MAX];
  const char *target;
  gsize size;

  if (S_ISLNK(inode->mode)) {
    g_assert_cmpint(index_readlink(index, inode->nid, &target, &size), ==, 0);
    g_assert_cmpmem(target, size, inode->target, strlen(inode->target));
  } else {
    g_assert_cmpint(index_readlink(index, inode->nid, &target, &size), ==, -EINVAL);
  }
  if (redirect != NULL) {
    g_assert_cmpint(index_redirect(index, inode->nid, buffer, sizeof buffer), ==, 0);
    g_assert_cmpstr(buffer, ==, redirect);
    g_assert_cmpint(index_redirect(index, inode->nid, buffer, strlen(redirect)), ==, -ERANGE);
  } else {
    g_assert_cmpint(index_redirect(index, inode->nid, buffer, sizeof buffer), ==, -ENODATA);
  }
}

typedef struct {
  TreeNode *dir;
  GHashTable *seen;
  guint left; /* to take before stopping */
  guint64 offset;
} Listing;

static gboolean
list_entry(void *data, const char *name, gsize name_size, guint64 nid, unsigned type, guint64 next)
{
  g_autofree char *copy = g_strndup(name, name_size);
  Listing *listing = data;
  TreeNode *node = listing->dir;

  if (listing->left-- == 0)
    return FALSE;
  if (strcmp(copy, "..") == 0)
    node = node->parent != NULL ? node->parent : node;
  else if (strcmp(copy, ".") != 0)
    node = tree_lookup(node, copy);
  g_assert_nonnull(node);
  g_assert_cmpuint(nid, ==, node->inode->nid);
  g_assert_cmpuint(type, ==, IFTODT(node->inode->mode));
  g_assert_cmpuint(next, >, listing->offset);
  listing->offset = next;
  g_assert_true(g_hash_table_add(listing->seen, g_steal_pointer(&copy)));
  return TRUE;
}

/* Lists the directory, @step entries a call. */
static void
check_listing(const Index *index, TreeNode *dir, guint step)
{
  Listing listing = {.dir = dir};
  guint before;
  gsize count;

  listing.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  do {
    before = g_hash_table_size(listing.seen);
    listing.left = step;
    g_assert_cmpint(index_readdir(index, dir->inode->nid, listing.offset, list_entry, &listing), ==,
                    0);
  } while (g_hash_table_size(listing.seen) > before);
  tree_children(dir, &count);
  g_assert_cmpuint(g_hash_table_size(listing.seen), ==, count + 2);
  g_hash_table_unref(listing.seen);
}

static guint32
count_links(TreeNode *node)
{
  gsize count;
  TreeNode **children = tree_children(node, &count);
  guint32 links = 2;

  if (!S_ISDIR(node->inode->mode))
    return node->inode->nlink;
  for (gsize i = 0; i < count; i++)
    links += S_ISDIR(children[i]->inode->mode) ? 1 : 0;
  return links;
}

static void
check_lookup(const Index *index, TreeNode *node)
{
  guint64 parent = node->parent->inode->nid, nid = 0;
  gsize size = strlen(node->name);
  g_autofree char *longer = g_strconcat(node->name, "\x01", NULL);

  g_assert_cmpint(index_lookup(index, parent, node->name, size, &nid), ==, 0);
  g_assert_cmpuint(nid, ==, node->inode->nid);
  if (tree_lookup(node->parent, longer) == NULL)
    g_assert_cmpint(index_lookup(index, parent, longer, size + 1, &nid), ==, -ENOENT);
  if (!S_ISDIR(node->inode->mode))
    g_assert_cmpint(index_lookup(index, node->inode->nid, "x", 1, &nid), ==, -ENOTDIR);
}

void
index_check_reader(const Index *index, Tree *tree)
{
  g_autoptr(GHashTable) redirects = index_check_redirects(tree);
  g_autoptr(GHashTable) inodes = g_hash_table_new(NULL, NULL);
  gboolean any_xattrs = FALSE;

  g_assert_cmpuint(index_root_nid(index), ==, tree_root(tree)->inode->nid);
  for (TreeNode *n = tree_root(tree); n != NULL; n = tree_next(n, NULL)) {
    g_hash_table_add(inodes, n->inode);
    any_xattrs |= n->inode->xattrs != NULL;
    check_stat(index, n, count_links(n));
    check_xattrs(index, n->inode);
    check_content(index, n->inode, g_hash_table_lookup(redirects, n->inode));
    if (n->parent != NULL)
      check_lookup(index, n);
    if (S_ISDIR(n->inode->mode)) {
      check_listing(index, n, G_MAXUINT);
      check_listing(index, n, 7);
      check_listing(index, n, 1);
    }
  }
  g_assert_cmpuint(index_inode_count(index), ==, g_hash_table_size(inodes));
  g_assert_cmpint(index_has_xattrs(index), ==, any_xattrs);
}
