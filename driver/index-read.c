/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-read.h"

#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "util.h"

static gboolean
super_invalid(GError **error, const char *why)
{
  return util_error(error, NIXSTORE_ERROR_INVALID, "Open the index: %s", why);
}

static gboolean
super_checksum_matches(const guint8 *map)
{
  guint8 block[EROFS_BLOCK_SIZE - EROFS_SUPER_OFFSET];
  ErofsSuper *super = (ErofsSuper *)(void *)block;
  ErofsSuper copy;

  memcpy(block, map + EROFS_SUPER_OFFSET, sizeof block);
  memcpy(&copy, block, sizeof copy);
  memset(block + G_STRUCT_OFFSET(ErofsSuper, checksum), 0, sizeof super->checksum);
  return GUINT32_FROM_LE(copy.checksum) == erofs_crc32c(G_MAXUINT32, block, sizeof block);
}

/* Reads the superblock of @index, whose map holds at least one block. */
static gboolean
super_read(Index *index, GError **error)
{
  ErofsSuper super;
  guint32 compat;

  memcpy(&super, index->map + EROFS_SUPER_OFFSET, sizeof super);
  compat = GUINT32_FROM_LE(super.feature_compat);
  if (GUINT32_FROM_LE(super.magic) != EROFS_SUPER_MAGIC)
    return super_invalid(error, "it is not an EROFS image");
  if ((compat & EROFS_COMPAT_CHECKSUM) == 0 || !super_checksum_matches(index->map))
    return super_invalid(error, "the superblock's checksum is wrong");
  if (super.block_bits != EROFS_BLOCK_BITS || super.dir_block_bits != 0 || super.ext_slots != 0 ||
      super.extra_devices != 0 || super.xattr_prefixes != 0 ||
      (GUINT32_FROM_LE(super.feature_incompat) & ~EROFS_INCOMPAT_CHUNKED_FILE) != 0)
    return super_invalid(error, "it uses EROFS features that no index has");
  if ((guint64)GUINT32_FROM_LE(super.blocks) * EROFS_BLOCK_SIZE > index->size)
    return super_invalid(error, "it is truncated");

  index->meta_start = (guint64)GUINT32_FROM_LE(super.meta_block) * EROFS_BLOCK_SIZE;
  index->xattr_start = (guint64)GUINT32_FROM_LE(super.xattr_block) * EROFS_BLOCK_SIZE;
  index->root_nid = GUINT16_FROM_LE(super.root_nid);
  index->inodes = GUINT64_FROM_LE(super.inodes);
  index->has_filter = (compat & EROFS_COMPAT_XATTR_FILTER) != 0 && super.xattr_filter_reserved == 0;
  index->has_xattrs =
      strncmp((const char *)super.volume_name, EROFS_INDEX_NAME, sizeof super.volume_name) != 0;
  return TRUE;
}

static gboolean
root_check(const Index *index, GError **error)
{
  IndexStat root;

  if (index_stat(index, index->root_nid, &root) != 0 || !S_ISDIR(root.mode))
    return super_invalid(error, "its root is no directory");
  return TRUE;
}

gboolean
index_read_super(Index *index, GError **error)
{
  if (index->size < EROFS_BLOCK_SIZE)
    return super_invalid(error, "it is not an EROFS image");
  return super_read(index, error) && root_check(index, error);
}

Index *
index_open(int fd, GError **error)
{
  g_autoptr(Index) index = g_new0(Index, 1);
  struct stat st;
  void *map;

  if (fstat(fd, &st) != 0) {
    util_error_errno(error, "Look at the index");
    return NULL;
  }
  if (!S_ISREG(st.st_mode) || st.st_size == 0) {
    super_invalid(error, "it is not an EROFS image");
    return NULL;
  }
  map = mmap(NULL, (gsize)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    util_error_errno(error, "Map the index");
    return NULL;
  }
  index->map = map;
  index->size = (guint64)st.st_size;
  if (!index_read_super(index, error))
    return NULL;
  return g_steal_pointer(&index);
}

void
index_trim(const Index *index)
{
  madvise((void *)index->map, index->size, MADV_DONTNEED);
}

void
index_close(Index *index)
{
  if (index == NULL)
    return;
  if (index->map != NULL)
    munmap((void *)index->map, index->size);
  g_free(index);
}

guint64
index_root_nid(const Index *index)
{
  return index->root_nid;
}

guint64
index_inode_count(const Index *index)
{
  return index->inodes;
}

gboolean
index_has_xattrs(const Index *index)
{
  return index->has_xattrs;
}

/* What makes sense of an inode's own fields. */
static gboolean
inode_is_sane(const IndexInode *inode)
{
  if (inode->mtime_nsec >= 1000000000)
    return FALSE;
  switch (inode->mode & S_IFMT) {
  case S_IFREG:
    return inode->size <= G_MAXINT64;
  case S_IFDIR:
    return inode->layout == EROFS_LAYOUT_PLAIN || inode->layout == EROFS_LAYOUT_INLINE;
  case S_IFLNK:
    return (inode->layout == EROFS_LAYOUT_PLAIN || inode->layout == EROFS_LAYOUT_INLINE) &&
           inode->size > 0 && inode->size < PATH_MAX;
  case S_IFCHR:
  case S_IFBLK:
  case S_IFIFO:
  case S_IFSOCK:
    return inode->size == 0;
  default:
    return FALSE;
  }
}

int
index_inode_get(const Index *index, guint64 nid, IndexInode *ret_inode)
{
  IndexInode inode;
  ErofsInode disk;
  guint64 offset;
  const guint8 *bytes;
  guint16 format, xattr_count;

  if (nid > index->size / EROFS_SLOT_SIZE)
    return -EUCLEAN;
  offset = index->meta_start + nid * EROFS_SLOT_SIZE;
  bytes = index_bytes(index, offset, sizeof disk);
  if (bytes == NULL)
    return -EUCLEAN;
  memcpy(&disk, bytes, sizeof disk);

  format = GUINT16_FROM_LE(disk.format);
  if ((format & EROFS_INODE_EXTENDED) == 0 || format >> EROFS_INODE_FORMAT_BITS != 0)
    return -EUCLEAN;
  inode = (IndexInode){
      .mode = GUINT16_FROM_LE(disk.mode),
      .uid = GUINT32_FROM_LE(disk.uid),
      .gid = GUINT32_FROM_LE(disk.gid),
      .nlink = GUINT32_FROM_LE(disk.nlink),
      .mtime_nsec = GUINT32_FROM_LE(disk.mtime_nsec),
      .mtime = (gint64)GUINT64_FROM_LE(disk.mtime),
      .data = GUINT32_FROM_LE(disk.data),
      .size = GUINT64_FROM_LE(disk.size),
      .layout = format >> EROFS_INODE_LAYOUT_SHIFT,
      .xattr_offset = offset + sizeof disk,
  };
  xattr_count = GUINT16_FROM_LE(disk.xattr_count);
  if (xattr_count > 0)
    inode.xattr_size = sizeof(ErofsXattrHeader) + 4 * (gsize)(xattr_count - 1);
  if (index_bytes(index, inode.xattr_offset, inode.xattr_size) == NULL || !inode_is_sane(&inode))
    return -EUCLEAN;
  inode.tail_offset = inode.xattr_offset + inode.xattr_size;
  *ret_inode = inode;
  return 0;
}

int
index_inode_block(const Index *index, const IndexInode *inode, guint64 block,
                  const guint8 **ret_data, gsize *ret_size)
{
  guint64 start = block * EROFS_BLOCK_SIZE, offset;
  const guint8 *data;
  gsize size;

  /* Data lies in the map: nothing larger is real, and the sums below cannot overflow. */
  if (inode->size > index->size || block > inode->size / EROFS_BLOCK_SIZE || start >= inode->size)
    return -EUCLEAN;
  size = MIN(inode->size - start, EROFS_BLOCK_SIZE);
  if (inode->layout == EROFS_LAYOUT_INLINE && size < EROFS_BLOCK_SIZE) {
    offset = inode->tail_offset;
    if (offset % EROFS_BLOCK_SIZE + size > EROFS_BLOCK_SIZE)
      return -EUCLEAN;
  } else {
    offset = ((guint64)inode->data + block) * EROFS_BLOCK_SIZE;
  }
  data = index_bytes(index, offset, size);
  if (data == NULL)
    return -EUCLEAN;
  *ret_data = data;
  *ret_size = size;
  return 0;
}

int
index_stat(const Index *index, guint64 nid, IndexStat *ret_stat)
{
  IndexInode inode;
  int failure = index_inode_get(index, nid, &inode);

  if (failure != 0)
    return failure;
  *ret_stat = (IndexStat){
      .nid = nid,
      .mode = inode.mode,
      .nlink = inode.nlink,
      .uid = inode.uid,
      .gid = inode.gid,
      .mtime = inode.mtime,
      .mtime_nsec = inode.mtime_nsec,
      .size = inode.size,
  };
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) { /* the kernel's new_decode_dev() */
    ret_stat->rdev_major = (inode.data >> 8) & 0xfff;
    ret_stat->rdev_minor = (inode.data & 0xff) | ((inode.data >> 12) & 0xfff00);
  }
  return 0;
}

int
index_readlink(const Index *index, guint64 nid, const char **ret_target, gsize *ret_size)
{
  IndexInode inode;
  const guint8 *data;
  gsize size;
  int failure = index_inode_get(index, nid, &inode);

  if (failure != 0)
    return failure;
  if (!S_ISLNK(inode.mode))
    return -EINVAL;
  failure = index_inode_block(index, &inode, 0, &data, &size);
  if (failure != 0)
    return failure;
  if (memchr(data, '\0', size) != NULL)
    return -EUCLEAN;
  *ret_target = (const char *)data;
  *ret_size = size;
  return 0;
}
