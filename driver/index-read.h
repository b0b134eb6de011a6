/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the parts of the index reader share; nobody else includes it. Nothing in the map is trusted:
 * whatever is read from it passes through these functions or is checked where it is read. They
 * return 0 or -EUCLEAN. Stands on erofs-format and index.h.
 */
#pragma once

#include "erofs-format.h"
#include "index.h"

struct Index {
  const guint8 *map;
  guint64 size;
  guint64 meta_start;  /* byte of nid 0 */
  guint64 xattr_start; /* byte of shared xattr 0 */
  guint64 root_nid;
  guint64 inodes;
  gboolean has_filter; /* ErofsXattrHeader.filter means something */
  gboolean has_xattrs;
};

/* An inode in host order, its xattrs and what follows them in bounds. */
typedef struct {
  guint32 mode, uid, gid, nlink, mtime_nsec, data;
  guint64 size;
  gint64 mtime;
  unsigned layout;
  guint64 xattr_offset; /* in the map; then xattr_size bytes */
  gsize xattr_size;     /* 0, or more than the header's */
  guint64 tail_offset;  /* what follows them */
} IndexInode;

/* Reads and checks the superblock and the root; map and size are set. */
gboolean index_read_super(Index *index, GError **error);

int index_inode_get(const Index *index, guint64 nid, IndexInode *ret_inode);

/* Block number @block of the data of a directory or symlink; *ret_size is 1 to EROFS_BLOCK_SIZE. */
int index_inode_block(const Index *index, const IndexInode *inode, guint64 block,
                      const guint8 **ret_data, gsize *ret_size);

/* The @size bytes at @offset of the map, or NULL when they are not all there. */
static inline const guint8 *
index_bytes(const Index *index, guint64 offset, guint64 size)
{
  if (offset > index->size || size > index->size - offset)
    return NULL;
  return index->map + offset;
}
