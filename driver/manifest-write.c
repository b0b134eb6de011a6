/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest.h"

#include <string.h>
#include <sys/stat.h>

#include "manifest-escape.h"
#include "util.h"

/* What most files of most images have; fixed, as the manifest's bytes decide the store path. */
#define HEADER "#mtree v2.0\n/set type=file uid=0 gid=0 mode=0644\n"

typedef struct {
  GString *out;
  GString *path;      /* scratch */
  GHashTable *firsts; /* TreeInode of a link group -> its first TreeNode */
  gboolean time_set;  /* a "/set time=" is in force: the two below */
  gint64 time;
  guint32 time_nsec;
} Writer;

static const char *
type_name(guint32 mode)
{
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "dir";
  case S_IFLNK:
    return "link";
  case S_IFBLK:
    return "block";
  case S_IFCHR:
    return "char";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  default:
    return "file";
  }
}

static void
append_path(Writer *writer, const TreeNode *node)
{
  g_string_append(writer->out, node->parent != NULL ? "./" : ".");
  g_string_set_size(writer->path, 0);
  tree_node_append_path(node, writer->path);
  manifest_append_escaped(writer->out, writer->path->str, writer->path->len);
}

/* The first name of @node's link group, @node itself if it is that or the only one. */
static const TreeNode *
group_first(Writer *writer, TreeNode *node)
{
  TreeNode *first;

  if (S_ISDIR(node->inode->mode) || node->inode->nlink < 2)
    return node;
  first = g_hash_table_lookup(writer->firsts, node->inode);
  if (first != NULL)
    return first;
  g_hash_table_insert(writer->firsts, node->inode, node);
  return node;
}

static gboolean
time_is_set(const Writer *writer, const TreeInode *inode)
{
  return writer->time_set && writer->time == inode->mtime && writer->time_nsec == inode->mtime_nsec;
}

static void
append_time(Writer *writer, const TreeInode *inode)
{
  g_string_append_printf(writer->out, "time=%" G_GINT64_FORMAT ".%09u", inode->mtime,
                         inode->mtime_nsec);
}

/* A time that the next line of the manifest has too is worth a /set. */
static void
append_set_time(Writer *writer, const TreeNode *node, const TreeNode *next)
{
  const TreeInode *inode = node->inode;

  if (time_is_set(writer, inode) || next == NULL || next->inode->mtime != inode->mtime ||
      next->inode->mtime_nsec != inode->mtime_nsec)
    return;
  g_string_append(writer->out, "/set ");
  append_time(writer, inode);
  g_string_append_c(writer->out, '\n');
  writer->time_set = TRUE;
  writer->time = inode->mtime;
  writer->time_nsec = inode->mtime_nsec;
}

static void
append_xattr(Writer *writer, const TreeXattr *xattr)
{
  g_autofree char *value = g_base64_encode(xattr->value, xattr->size);

  g_string_append(writer->out, " xattr.");
  manifest_append_escaped(writer->out, xattr->name, strlen(xattr->name));
  g_string_append_c(writer->out, '=');
  g_string_append(writer->out, value);
}

static void
append_attributes(Writer *writer, const TreeInode *inode)
{
  GString *out = writer->out;

  if (!S_ISREG(inode->mode))
    g_string_append_printf(out, " type=%s", type_name(inode->mode));
  if (inode->uid != 0)
    g_string_append_printf(out, " uid=%u", inode->uid);
  if (inode->gid != 0)
    g_string_append_printf(out, " gid=%u", inode->gid);
  if ((inode->mode & 07777) != 0644)
    g_string_append_printf(out, " mode=%04o", inode->mode & 07777);
  if (!time_is_set(writer, inode)) {
    g_string_append_c(out, ' ');
    append_time(writer, inode);
  }
  if (S_ISBLK(inode->mode) || S_ISCHR(inode->mode))
    g_string_append_printf(out, " device=native,%u,%u", inode->rdev_major, inode->rdev_minor);
  for (guint i = 0; inode->xattrs != NULL && i < inode->xattrs->len; i++)
    append_xattr(writer, &g_array_index(inode->xattrs, TreeXattr, i));
}

static void
append_entry(Writer *writer, TreeNode *node, const TreeNode *next)
{
  const TreeNode *first = group_first(writer, node);

  if (first == node)
    append_set_time(writer, node, next);
  append_path(writer, node);
  if (first == node) {
    append_attributes(writer, node->inode);
  } else {
    g_string_append(writer->out, " hardlink=");
    append_path(writer, first);
  }
  g_string_append_c(writer->out, '\n');
}

GString *
manifest_write(Tree *tree, GError **error)
{
  g_autoptr(GHashTable) firsts = g_hash_table_new(NULL, NULL);
  g_autoptr(GString) path = g_string_new(NULL);
  Writer writer = {.path = path, .firsts = firsts};
  TreeNode *next;

  writer.out = g_string_sized_new(64 * tree_count(tree) + sizeof HEADER);
  g_string_append(writer.out, HEADER);
  for (TreeNode *node = tree_root(tree); node != NULL; node = next) {
    next = tree_next(node, NULL);
    append_entry(&writer, node, next);
    if (writer.out->len > MANIFEST_MAX_SIZE) {
      g_string_free(writer.out, TRUE);
      util_error(error, NIXSTORE_ERROR_INVALID,
                 "its paths are so many and so long that the manifest would have more than %d MiB",
                 MANIFEST_MAX_SIZE / (1024 * 1024));
      return NULL;
    }
  }
  return writer.out;
}
