/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * EROFS as it lies on disk: the part of it that an index uses. Every number is little-endian: read
 * and written through the GUINTn_FROM_LE and GUINTn_TO_LE macros. Source: the kernel's
 * Documentation/filesystems/erofs.rst ("On-disk details") and its fs/erofs/erofs_fs.h. Also the two
 * checksums and the name prefixes that writer and reader share. Stands on GLib.
 *
 * An index holds: the superblock at byte 1024 of block 0; inodes at 32-byte slots (the slot's
 * number is the nid) each followed by its xattrs, chunk map or inline data; shared xattrs; whole
 * blocks of directory entries and of symlink targets.
 */
#pragma once

#include <glib.h>

#define EROFS_SUPER_OFFSET 1024
#define EROFS_SUPER_MAGIC 0xe0f5e1e2u
#define EROFS_BLOCK_BITS 12
#define EROFS_BLOCK_SIZE (1u << EROFS_BLOCK_BITS)
#define EROFS_SLOT_BITS 5
#define EROFS_SLOT_SIZE (1u << EROFS_SLOT_BITS)

/* feature_compat: a kernel that does not know the bit may ignore it. */
#define EROFS_COMPAT_CHECKSUM 0x1u
#define EROFS_COMPAT_MTIME 0x2u
#define EROFS_COMPAT_XATTR_FILTER 0x4u /* since Linux 6.6 */
/* feature_incompat: it must not. */
#define EROFS_INCOMPAT_CHUNKED_FILE 0x4u /* since Linux 5.15 */

typedef struct {
  guint32 magic;
  guint32 checksum; /* erofs_crc32c() of the block from here's start on, this field being 0 */
  guint32 feature_compat;
  guint8 block_bits;
  guint8 ext_slots;
  guint16 root_nid;
  guint64 inodes;
  guint64 build_time;
  guint32 build_time_nsec;
  guint32 blocks;
  guint32 meta_block;  /* where nid 0 is */
  guint32 xattr_block; /* where shared xattr 0 is */
  guint8 uuid[16];
  guint8 volume_name[16];
  guint32 feature_incompat;
  guint16 compression;
  guint16 extra_devices;
  guint16 device_slot;
  guint8 dir_block_bits; /* beyond block_bits */
  guint8 xattr_prefixes;
  guint32 xattr_prefix_start;
  guint64 packed_nid;
  guint8 xattr_filter_reserved;
  guint8 reserved[23];
} ErofsSuper;

/* The bits of ErofsInode.format. */
#define EROFS_INODE_EXTENDED 0x1u
#define EROFS_INODE_LAYOUT_SHIFT 1
#define EROFS_INODE_FORMAT_BITS 4

enum {
  EROFS_LAYOUT_PLAIN = 0,  /* all data in whole blocks */
  EROFS_LAYOUT_INLINE = 2, /* whole blocks, the rest after the inode; does not cross a block */
  EROFS_LAYOUT_CHUNKS = 4, /* an array of block numbers after the inode, one a chunk */
};

#define EROFS_NULL_BLOCK 0xffffffffu
/* A chunk is of 2 to the power of block_bits + (format & CHUNK_BITS_MASK) bytes. */
#define EROFS_CHUNK_BITS_MASK 0x1fu
#define EROFS_CHUNK_MAX_BITS (EROFS_BLOCK_BITS + EROFS_CHUNK_BITS_MASK)

/* The extended form, the only one in an index. */
typedef struct {
  guint16 format;
  guint16 xattr_count; /* 0, or 1 + (bytes of xattrs - sizeof (ErofsXattrHeader)) / 4 */
  guint16 mode;
  guint16 reserved;
  guint64 size;
  guint32 data; /* first block; device as new_encode_dev(); or chunk format */
  guint32 ino;
  guint32 uid;
  guint32 gid;
  guint64 mtime;
  guint32 mtime_nsec;
  guint32 nlink;
  guint8 reserved2[16];
} ErofsInode;

/* Before an inode's xattrs; followed by shared_count ids (32 bits each), then by inline entries. */
typedef struct {
  guint32 filter; /* a bit set: no xattr whose name hashes to it; see erofs_xattr_filter_bit() */
  guint8 shared_count;
  guint8 reserved[7];
} ErofsXattrHeader;

/* Followed by name (without its prefix) and value; the next begins at a multiple of 4. */
typedef struct {
  guint8 name_size;
  guint8 name_index; /* of the prefix */
  guint16 value_size;
} ErofsXattrEntry;

#define EROFS_XATTR_MAX_COUNT G_MAXUINT16
#define EROFS_XATTR_MAX_SIZE (sizeof(ErofsXattrHeader) + 4 * (gsize)(EROFS_XATTR_MAX_COUNT - 1))
#define EROFS_XATTR_FILTER_ALL 0xffffffffu

/* A directory block: these, sorted by name as strcmp() does, then the names. The first one's
 * name_offset gives their number. A name ends where the next begins; the last one at a NUL or at
 * the end of the block or directory. */
typedef struct __attribute__((packed)) {
  guint64 nid;
  guint16 name_offset;
  guint8 type;
  guint8 reserved;
} ErofsDirent;

enum {
  EROFS_TYPE_UNKNOWN,
  EROFS_TYPE_REGULAR,
  EROFS_TYPE_DIRECTORY,
  EROFS_TYPE_CHARACTER,
  EROFS_TYPE_BLOCK,
  EROFS_TYPE_FIFO,
  EROFS_TYPE_SOCKET,
  EROFS_TYPE_SYMLINK,
};

G_STATIC_ASSERT(sizeof(ErofsSuper) == 128);
G_STATIC_ASSERT(sizeof(ErofsInode) == 64);
G_STATIC_ASSERT(sizeof(ErofsXattrHeader) == 12);
G_STATIC_ASSERT(sizeof(ErofsXattrEntry) == 4);
G_STATIC_ASSERT(sizeof(ErofsDirent) == 12);

/* The volume name says whether an index has xattrs of its image: two fixed values, of at most 15
 * bytes (the kernel insists on a NUL). */
#define EROFS_INDEX_NAME "nixstore"
#define EROFS_INDEX_NAME_XATTRS "nixstore+xattr"

/* CRC-32C, not inverted at the end, as the superblock has it. */
guint32 erofs_crc32c(guint32 crc, const void *data, gsize size);

/* The index of the prefix of the xattr @name, 0 when EROFS has none for it; *ret_prefix_size is the
 * prefix's length. */
guint8 erofs_xattr_prefix_index(const char *name, gsize *ret_prefix_size);

/* The prefix that @index stands for, NULL when there is none. */
const char *erofs_xattr_prefix(guint8 index);

/* The bit of ErofsXattrHeader.filter for the name @rest (of @size bytes, without the prefix
 * @index): xxh32 modulo 32, from the kernel's fs/erofs/xattr.c. */
guint32 erofs_xattr_filter_bit(guint8 index, const char *rest, gsize size);

static inline gsize
erofs_align(gsize value, gsize alignment)
{
  return (value + alignment - 1) & ~(alignment - 1);
}

static inline gsize
erofs_xattr_entry_size(gsize name_size, gsize value_size)
{
  return erofs_align(sizeof(ErofsXattrEntry) + name_size + value_size, 4);
}
