/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-read.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_SIZE 255

/* One block of a directory: @count entries before the names. */
typedef struct {
  const guint8 *data;
  gsize size;
  gsize count;
} Block;

typedef struct {
  guint64 nid;
  const char *name;
  gsize name_size;
  guint8 type;
} Entry;

static ErofsDirent
block_dirent(const Block *block, gsize i)
{
  ErofsDirent dirent;

  memcpy(&dirent, block->data + i * sizeof dirent, sizeof dirent);
  return dirent;
}

static int
directory_get(const Index *index, guint64 nid, IndexInode *ret_inode)
{
  int failure = index_inode_get(index, nid, ret_inode);

  if (failure != 0)
    return failure;
  if (!S_ISDIR(ret_inode->mode))
    return -ENOTDIR;
  return 0;
}

static int
block_get(const Index *index, const IndexInode *dir, guint64 number, Block *ret_block)
{
  Block block;
  gsize names;
  int failure = index_inode_block(index, dir, number, &block.data, &block.size);

  if (failure != 0)
    return failure;
  if (block.size <= sizeof(ErofsDirent))
    return -EUCLEAN;
  names = GUINT16_FROM_LE(block_dirent(&block, 0).name_offset);
  if (names < sizeof(ErofsDirent) || names % sizeof(ErofsDirent) != 0 || names >= block.size)
    return -EUCLEAN;
  block.count = names / sizeof(ErofsDirent);
  *ret_block = block;
  return 0;
}

/* Entry number @i, which is below @block's count. */
static int
block_entry(const Block *block, gsize i, Entry *ret_entry)
{
  ErofsDirent dirent = block_dirent(block, i);
  gsize start = GUINT16_FROM_LE(dirent.name_offset), end = block->size;
  const char *name;
  gsize size;

  if (i + 1 < block->count)
    end = GUINT16_FROM_LE(block_dirent(block, i + 1).name_offset);
  if (start < block->count * sizeof dirent || end > block->size || start >= end)
    return -EUCLEAN;
  name = (const char *)block->data + start;
  size = strnlen(name, end - start);
  /* Only behind a block's last name may there be NULs. */
  if (size == 0 || size > NAME_MAX_SIZE || (size < end - start && i + 1 < block->count) ||
      memchr(name, '/', size) != NULL)
    return -EUCLEAN;
  *ret_entry = (Entry){GUINT64_FROM_LE(dirent.nid), name, size, dirent.type};
  return 0;
}

/* As strcmp() of the two names. */
static int
compare_names(const char *a, gsize a_size, const char *b, gsize b_size)
{
  int order = memcmp(a, b, MIN(a_size, b_size));

  if (order != 0)
    return order;
  return a_size < b_size ? -1 : a_size > b_size;
}

/* The last block whose first name is not beyond @name: there it is, if anywhere. */
static int
find_block(const Index *index, const IndexInode *dir, const char *name, gsize name_size,
           Block *ret_block)
{
  guint64 low = 0, high = (dir->size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE;
  gboolean found = FALSE;

  while (low < high) {
    guint64 middle = low + (high - low) / 2;
    Block block;
    Entry first;
    int failure = block_get(index, dir, middle, &block);

    if (failure == 0)
      failure = block_entry(&block, 0, &first);
    if (failure != 0)
      return failure;
    if (compare_names(name, name_size, first.name, first.name_size) < 0) {
      high = middle;
    } else {
      *ret_block = block;
      found = TRUE;
      low = middle + 1;
    }
  }
  return found ? 0 : -ENOENT;
}

int
index_lookup(const Index *index, guint64 dir_nid, const char *name, gsize name_size,
             guint64 *ret_nid)
{
  IndexInode dir;
  Block block;
  gsize low = 0, high;
  int failure = directory_get(index, dir_nid, &dir);

  if (failure == 0)
    failure = find_block(index, &dir, name, name_size, &block);
  if (failure != 0)
    return failure;
  high = block.count;
  while (low < high) {
    gsize middle = low + (high - low) / 2;
    Entry entry;
    int order;

    failure = block_entry(&block, middle, &entry);
    if (failure != 0)
      return failure;
    order = compare_names(name, name_size, entry.name, entry.name_size);
    if (order == 0) {
      *ret_nid = entry.nid;
      return 0;
    }
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return -ENOENT;
}

static unsigned
dirent_type(guint8 type)
{
  static const unsigned char types[] = {
      [EROFS_TYPE_UNKNOWN] = DT_UNKNOWN, [EROFS_TYPE_REGULAR] = DT_REG,
      [EROFS_TYPE_DIRECTORY] = DT_DIR,   [EROFS_TYPE_CHARACTER] = DT_CHR,
      [EROFS_TYPE_BLOCK] = DT_BLK,       [EROFS_TYPE_FIFO] = DT_FIFO,
      [EROFS_TYPE_SOCKET] = DT_SOCK,     [EROFS_TYPE_SYMLINK] = DT_LNK,
  };

  return type < G_N_ELEMENTS(types) ? types[type] : DT_UNKNOWN;
}

/* Emits @block's entries from number @i on; *ret_stopped when @emit had enough. */
static int
emit_block(const Block *block, gsize i, guint64 start, IndexEmit emit, void *data,
           gboolean *ret_stopped)
{
  for (; i < block->count; i++) {
    /* An offset is that of the next dirent, or of the next block when there is none. */
    guint64 next =
        i + 1 < block->count ? start + (i + 1) * sizeof(ErofsDirent) : start + EROFS_BLOCK_SIZE;
    Entry entry;
    int failure = block_entry(block, i, &entry);

    if (failure != 0)
      return failure;
    if (!emit(data, entry.name, entry.name_size, entry.nid, dirent_type(entry.type), next)) {
      *ret_stopped = TRUE;
      return 0;
    }
  }
  return 0;
}

int
index_readdir(const Index *index, guint64 dir_nid, guint64 offset, IndexEmit emit, void *data)
{
  gboolean stopped = FALSE;
  IndexInode dir;
  int failure = directory_get(index, dir_nid, &dir);

  if (failure == 0 && offset % EROFS_BLOCK_SIZE % sizeof(ErofsDirent) != 0)
    failure = -EINVAL;
  while (failure == 0 && !stopped && offset < dir.size) {
    guint64 number = offset / EROFS_BLOCK_SIZE;
    Block block;

    failure = block_get(index, &dir, number, &block);
    if (failure == 0)
      failure = emit_block(&block, offset % EROFS_BLOCK_SIZE / sizeof(ErofsDirent),
                           number * EROFS_BLOCK_SIZE, emit, data, &stopped);
    offset = (number + 1) * EROFS_BLOCK_SIZE;
  }
  return failure;
}
