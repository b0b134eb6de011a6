/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-write.h"

#include <string.h>
#include <sys/stat.h>

#include "erofs-format.h"

/* A block cannot hold more: every entry has a name. */
#define MAX_ENTRIES (EROFS_BLOCK_SIZE / (sizeof(ErofsDirent) + 1))

/* A directory's entries in order, "." and ".." among them where strcmp() puts them. */
typedef struct {
  const TreeNode *dir;
  TreeNode **children;
  gsize count, next;
  guint dots; /* given already */
} Entries;

typedef struct {
  const char *name;
  gsize size;
  const TreeInode *inode;
} Entry;

static gboolean
entries_next(Entries *entries, Entry *ret_entry)
{
  static const char *const dots[] = {".", ".."};
  const TreeNode *node = entries->next < entries->count ? entries->children[entries->next] : NULL;

  if (entries->dots < G_N_ELEMENTS(dots) &&
      (node == NULL || strcmp(dots[entries->dots], node->name) < 0)) {
    const TreeNode *dir =
        entries->dots == 1 && entries->dir->parent != NULL ? entries->dir->parent : entries->dir;
    *ret_entry = (Entry){dots[entries->dots], entries->dots + 1, dir->inode};
    entries->dots++;
    return TRUE;
  }
  if (node == NULL)
    return FALSE;
  entries->next++;
  *ret_entry = (Entry){node->name, strlen(node->name), node->inode};
  return TRUE;
}

static Entries
entries_start(TreeNode *dir)
{
  Entries entries = {.dir = dir};

  entries.children = tree_children(dir, &entries.count);
  return entries;
}

guint64
index_dir_measure(TreeNode *dir)
{
  Entries entries = entries_start(dir);
  guint64 blocks = 0;
  gsize used = 0;
  Entry entry;

  while (entries_next(&entries, &entry)) {
    gsize need = sizeof(ErofsDirent) + entry.size;

    if (used + need > EROFS_BLOCK_SIZE) {
      blocks++;
      used = 0;
    }
    used += need;
  }
  return blocks * EROFS_BLOCK_SIZE + used;
}

guint32
index_dir_link_count(TreeNode *dir)
{
  gsize count;
  TreeNode **children = tree_children(dir, &count);
  guint32 links = 2;

  for (gsize i = 0; i < count; i++)
    links += S_ISDIR(children[i]->inode->mode) ? 1 : 0;
  return links;
}

static guint8
entry_type(guint32 mode)
{
  switch (mode & S_IFMT) {
  case S_IFREG:
    return EROFS_TYPE_REGULAR;
  case S_IFDIR:
    return EROFS_TYPE_DIRECTORY;
  case S_IFCHR:
    return EROFS_TYPE_CHARACTER;
  case S_IFBLK:
    return EROFS_TYPE_BLOCK;
  case S_IFIFO:
    return EROFS_TYPE_FIFO;
  case S_IFSOCK:
    return EROFS_TYPE_SOCKET;
  case S_IFLNK:
    return EROFS_TYPE_SYMLINK;
  default:
    return EROFS_TYPE_UNKNOWN;
  }
}

static void
block_store(guint8 *out, const Entry *entries, gsize count)
{
  gsize offset = count * sizeof(ErofsDirent);

  for (gsize i = 0; i < count; i++) {
    ErofsDirent dirent = {
        .nid = GUINT64_TO_LE(entries[i].inode->nid),
        .name_offset = GUINT16_TO_LE((guint16)offset),
        .type = entry_type(entries[i].inode->mode),
    };
    memcpy(out + i * sizeof dirent, &dirent, sizeof dirent);
    memcpy(out + offset, entries[i].name, entries[i].size);
    offset += entries[i].size;
  }
}

/* Takes as many entries as fit into a block. Returns their count, 0 at the end; @next is the first
 * one that is still to be stored, without a name at the end. */
static gsize
entries_take_block(Entries *entries, Entry *next, Entry block[MAX_ENTRIES])
{
  gsize count = 0, used = 0;

  while (next->name != NULL && used + sizeof(ErofsDirent) + next->size <= EROFS_BLOCK_SIZE) {
    used += sizeof(ErofsDirent) + next->size;
    block[count++] = *next;
    if (!entries_next(entries, next))
      next->name = NULL;
  }
  return count;
}

void
index_dir_store(TreeNode *dir, IndexStream *stream)
{
  Entries entries = entries_start(dir);
  Entry block[MAX_ENTRIES], next;
  gsize count;

  entries_next(&entries, &next);
  while ((count = entries_take_block(&entries, &next, block)) > 0)
    block_store(index_stream_reserve(stream, EROFS_BLOCK_SIZE), block, count);
}

void
index_dir_store_inline(TreeNode *dir, guint8 *out)
{
  Entries entries = entries_start(dir);
  Entry block[MAX_ENTRIES], next;

  entries_next(&entries, &next);
  block_store(out, block, entries_take_block(&entries, &next, block));
}
