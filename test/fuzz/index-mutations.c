/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-mutations.h"

#include <stddef.h>
#include <string.h>

#include "../unit/tree-fixture.h"
#include "erofs-format.h"
#include "index-exercise.h"
#include "index.h"
#include "util.h"

typedef struct {
  Tree *tree;
  GByteArray *image;
} Subject;

static ErofsSuper *
super(Subject *s)
{
  return (ErofsSuper *)(void *)(s->image->data + EROFS_SUPER_OFFSET);
}

static ErofsInode *
inode(Subject *s, const char *path)
{
  guint64 nid = tree_lookup_path(s->tree, path)->inode->nid;

  return (ErofsInode *)(void *)(s->image->data + nid * EROFS_SLOT_SIZE);
}

static guint8 *
xattrs(Subject *s, const char *path)
{
  return (guint8 *)(inode(s, path) + 1);
}

/* The first inline entry. */
static ErofsXattrEntry *
inline_xattr(Subject *s, const char *path)
{
  ErofsXattrHeader *header = (ErofsXattrHeader *)(void *)xattrs(s, path);

  return (ErofsXattrEntry *)(void *)((guint8 *)(header + 1) + 4 * header->shared_count);
}

/* The inline data of "dir" or of a symlink. */
static guint8 *
tail(Subject *s, const char *path)
{
  ErofsInode *i = inode(s, path);
  guint16 count = GUINT16_FROM_LE(i->xattr_count);

  return (guint8 *)(i + 1) + (count > 0 ? sizeof(ErofsXattrHeader) + 4u * (count - 1u) : 0);
}

static ErofsDirent *
dirent(Subject *s, guint number)
{
  return (ErofsDirent *)(void *)(tail(s, "dir") + number * sizeof(ErofsDirent));
}

/* The name of entry @number of "dir". */
static char *
entry_name(Subject *s, guint number)
{
  return (char *)tail(s, "dir") + GUINT16_FROM_LE(dirent(s, number)->name_offset);
}

/* No NUL from @start to the end of the image. */
static void
fill_rest(Subject *s, char *start)
{
  memset(start, 'x', (gsize)(s->image->data + s->image->len - (guint8 *)start));
}

#define MUTATION(NAME, BODY)                                                                       \
  static void NAME(Subject *s)                                                                     \
  {                                                                                                \
    BODY;                                                                                          \
  }

/* clang-format off */
MUTATION(super_magic, super(s)->magic ^= 1)
MUTATION(super_block_size, super(s)->block_bits = 16)
MUTATION(super_directory_block_size, super(s)->dir_block_bits = 1)
MUTATION(super_extension, super(s)->ext_slots = 1)
MUTATION(super_compressed, super(s)->feature_incompat |= GUINT32_TO_LE(1))
MUTATION(super_48_bits, super(s)->feature_incompat |= GUINT32_TO_LE(0x80))
MUTATION(super_devices, super(s)->extra_devices = GUINT16_TO_LE(1))
MUTATION(super_no_checksum, super(s)->feature_compat &= ~GUINT32_TO_LE(EROFS_COMPAT_CHECKSUM))
MUTATION(super_too_many_blocks, super(s)->blocks = GUINT32_TO_LE(GUINT32_FROM_LE(super(s)->blocks) + 1))
MUTATION(super_meta_beyond, super(s)->meta_block = G_MAXUINT32)
MUTATION(super_xattrs_beyond, super(s)->xattr_block = G_MAXUINT32)
MUTATION(root_beyond, super(s)->root_nid = G_MAXUINT16)
MUTATION(root_in_superblock, super(s)->root_nid = GUINT16_TO_LE(33))
MUTATION(root_is_file, super(s)->root_nid = GUINT16_TO_LE((guint16)tree_lookup_path(s->tree, "dir/shadow")->inode->nid))
MUTATION(truncated, g_byte_array_set_size(s->image, s->image->len - EROFS_BLOCK_SIZE))
MUTATION(truncated_superblock, g_byte_array_set_size(s->image, 1100))
MUTATION(empty, g_byte_array_set_size(s->image, 0))

MUTATION(inode_compact, inode(s, "dir/shadow")->format &= GUINT16_TO_LE(0xfffe))
MUTATION(inode_unknown_bits, inode(s, "dir/shadow")->format |= GUINT16_TO_LE(0x100))
MUTATION(inode_no_type, inode(s, "dir/shadow")->mode = GUINT16_TO_LE(0644))
MUTATION(inode_size_negative, inode(s, "dir/shadow")->size = G_MAXUINT64)
MUTATION(inode_nanoseconds, inode(s, "dir/shadow")->mtime_nsec = GUINT32_TO_LE(1000000000))
MUTATION(inode_fifo_size, inode(s, "dir/fifo")->size = GUINT64_TO_LE(5))

MUTATION(dir_chunked, inode(s, "dir")->format = GUINT16_TO_LE(1 | EROFS_LAYOUT_CHUNKS << 1))
MUTATION(dir_compressed, inode(s, "dir")->format = GUINT16_TO_LE(1 | 1 << 1))
MUTATION(dir_huge, inode(s, "dir")->size = GUINT64_TO_LE(G_GUINT64_CONSTANT(1) << 40))
MUTATION(dir_size_overflow, inode(s, "dir")->size = G_MAXUINT64)
MUTATION(dir_size_short, inode(s, "dir")->size = GUINT64_TO_LE(11))
MUTATION(dir_block_beyond, inode(s, "dir")->format = GUINT16_TO_LE(1); inode(s, "dir")->data = GUINT32_TO_LE(0xfffffff0))
MUTATION(dir_tail_crosses, inode(s, "dir")->size = GUINT64_TO_LE(4095))
MUTATION(dir_nid_beyond, dirent(s, 3)->nid = G_MAXUINT64)
MUTATION(dir_nid_just_beyond, dirent(s, 3)->nid = GUINT64_TO_LE(s->image->len / 32))
MUTATION(dir_name_offset_zero, dirent(s, 0)->name_offset = 0)
MUTATION(dir_name_offset_odd, dirent(s, 0)->name_offset = GUINT16_TO_LE(13))
MUTATION(dir_name_offset_beyond, dirent(s, 0)->name_offset = GUINT16_TO_LE(12 * 340))
MUTATION(dir_name_beyond, dirent(s, 2)->name_offset = GUINT16_TO_LE(0xffff))
MUTATION(dir_name_runs_out, dirent(s, 3)->name_offset = GUINT16_TO_LE(0xffff); fill_rest(s, entry_name(s, 2)))
MUTATION(dir_name_before, dirent(s, 2)->name_offset = GUINT16_TO_LE(3))
MUTATION(dir_name_backwards, dirent(s, 2)->name_offset = dirent(s, 4)->name_offset)
MUTATION(dir_name_empty, dirent(s, 3)->name_offset = dirent(s, 2)->name_offset)
MUTATION(dir_name_slash, entry_name(s, 3)[0] = '/')
MUTATION(dir_name_nul, entry_name(s, 3)[1] = '\0')
MUTATION(dir_name_first_nul, entry_name(s, 3)[0] = '\0')

MUTATION(link_empty, inode(s, "dir/link")->size = 0)
MUTATION(link_long, inode(s, "dir/link")->size = GUINT64_TO_LE(4096))
MUTATION(link_nul, tail(s, "dir/link")[2] = '\0')
MUTATION(link_chunked, inode(s, "dir/link")->format = GUINT16_TO_LE(1 | EROFS_LAYOUT_CHUNKS << 1))
MUTATION(link_block_beyond, inode(s, "dir/link")->format = GUINT16_TO_LE(1); inode(s, "dir/link")->data = G_MAXUINT32)

MUTATION(xattr_area_beyond, inode(s, "dir/shadow")->xattr_count = G_MAXUINT16)
MUTATION(xattr_shared_too_many, xattrs(s, "dir/shadow")[4] = 255)
MUTATION(xattr_shared_beyond, memset(xattrs(s, "dir/shadow") + 12, 0xff, 4))
MUTATION(xattr_prefix_unknown, inline_xattr(s, "dir/shadow")->name_index = 77)
MUTATION(xattr_prefix_long, inline_xattr(s, "dir/shadow")->name_index = 0x80)
MUTATION(xattr_name_long, inline_xattr(s, "dir/shadow")->name_size = 255)
MUTATION(xattr_name_nul, ((char *)(inline_xattr(s, "dir/shadow") + 1))[3] = '\0')
MUTATION(xattr_value_long, inline_xattr(s, "dir/shadow")->value_size = G_MAXUINT16)
MUTATION(xattr_value_past_area, inline_xattr(s, "xattr/acl")->value_size = GUINT16_TO_LE(60))
MUTATION(redirect_relative, ((char *)(inline_xattr(s, "dir/shadow") + 1))[16] = '.')
MUTATION(redirect_nul, ((char *)(inline_xattr(s, "dir/shadow") + 1))[18] = '\0')
MUTATION(redirect_empty, inline_xattr(s, "dir/shadow")->value_size = 0)

#define ROW(NAME) {#NAME, NAME}
static const struct {
  const char *name;
  void (*apply)(Subject *s);
} mutations[] = {
    ROW(super_magic), ROW(super_block_size), ROW(super_directory_block_size), ROW(super_extension),
    ROW(super_compressed), ROW(super_48_bits), ROW(super_devices), ROW(super_no_checksum),
    ROW(super_too_many_blocks), ROW(super_meta_beyond), ROW(super_xattrs_beyond), ROW(root_beyond),
    ROW(root_in_superblock), ROW(root_is_file), ROW(truncated), ROW(truncated_superblock), ROW(empty),
    ROW(inode_compact), ROW(inode_unknown_bits), ROW(inode_no_type), ROW(inode_size_negative),
    ROW(inode_nanoseconds), ROW(inode_fifo_size), ROW(dir_chunked), ROW(dir_compressed), ROW(dir_huge),
    ROW(dir_size_overflow), ROW(dir_size_short), ROW(dir_block_beyond), ROW(dir_tail_crosses),
    ROW(dir_nid_beyond), ROW(dir_nid_just_beyond), ROW(dir_name_offset_zero), ROW(dir_name_offset_odd),
    ROW(dir_name_offset_beyond), ROW(dir_name_beyond), ROW(dir_name_runs_out), ROW(dir_name_before), ROW(dir_name_backwards),
    ROW(dir_name_empty), ROW(dir_name_slash), ROW(dir_name_nul), ROW(dir_name_first_nul),
    ROW(link_empty), ROW(link_long), ROW(link_nul), ROW(link_chunked), ROW(link_block_beyond),
    ROW(xattr_area_beyond), ROW(xattr_shared_too_many), ROW(xattr_shared_beyond),
    ROW(xattr_prefix_unknown), ROW(xattr_prefix_long), ROW(xattr_name_long), ROW(xattr_name_nul),
    ROW(xattr_value_long), ROW(xattr_value_past_area), ROW(redirect_relative), ROW(redirect_nul), ROW(redirect_empty),
};
/* clang-format on */

guint
index_mutation_count(void)
{
  return G_N_ELEMENTS(mutations);
}

const char *
index_mutation_name(guint number)
{
  return mutations[number].name;
}

static void
loop(Subject *s)
{
  dirent(s, 2)->nid = GUINT64_TO_LE((guint64)GUINT16_FROM_LE(super(s)->root_nid));
  dirent(s, 2)->type = EROFS_TYPE_DIRECTORY;
}

static GByteArray *
make(void (*apply)(Subject *s))
{
  g_autoptr(Tree) tree = fixture_full();
  g_autoptr(GError) error = NULL;
  autofd int fd = -1;
  Subject s = {.tree = tree};
  g_autofree char *path = NULL;
  gsize size;
  guint8 *data;

  fd = g_file_open_tmp("nixstore-index-XXXXXX", &path, &error);
  g_assert_no_error(error);
  unlink(path);
  g_assert_true(index_write(tree, fd, NULL, 0, &error));
  data = (guint8 *)util_read_all(fd, 1 << 30, "index", &size, &error);
  g_assert_no_error(error);
  s.image = g_byte_array_new_take(data, size);
  if (apply != NULL) {
    apply(&s);
    index_exercise_fix_checksum(s.image->data, s.image->len);
  }
  return s.image;
}

GByteArray *
index_mutation_good(void)
{
  return make(NULL);
}

GByteArray *
index_mutation_make(guint number)
{
  return make(mutations[number].apply);
}

GByteArray *
index_mutation_loop(void)
{
  return make(loop);
}
