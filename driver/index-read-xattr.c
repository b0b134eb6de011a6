/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-read.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_SIZE 255
#define OVERLAY "overlay."
#define OVERLAY_SIZE (sizeof OVERLAY - 1)
/* A name without its prefix, escaped. */
#define REST_MAX_SIZE (NAME_MAX_SIZE + OVERLAY_SIZE)

typedef struct {
  guint8 index;
  const char *rest; /* the name without its prefix, not NUL-terminated */
  gsize rest_size;
  const guint8 *value;
  gsize value_size;
} Xattr;

/* Walks over the shared xattrs of an inode, then over those beside it. */
typedef struct {
  const Index *index;
  guint32 filter;
  guint shared_next, shared_count;
  guint64 ids;         /* in the map */
  guint64 inline_next; /* in the map */
  guint64 inline_end;
} Walk;

static int
walk_start(const Index *index, guint64 nid, Walk *ret_walk)
{
  ErofsXattrHeader header;
  IndexInode inode;
  int failure = index_inode_get(index, nid, &inode);

  if (failure != 0)
    return failure;
  if (inode.xattr_size == 0) {
    *ret_walk = (Walk){.index = index, .filter = index->has_filter ? EROFS_XATTR_FILTER_ALL : 0};
    return 0;
  }
  memcpy(&header, index->map + inode.xattr_offset, sizeof header);
  *ret_walk = (Walk){
      .index = index,
      .filter = index->has_filter ? GUINT32_FROM_LE(header.filter) : 0,
      .shared_count = header.shared_count,
      .ids = inode.xattr_offset + sizeof header,
      .inline_next = inode.xattr_offset + sizeof header + 4 * (guint64)header.shared_count,
      .inline_end = inode.tail_offset,
  };
  return ret_walk->inline_next <= ret_walk->inline_end ? 0 : -EUCLEAN;
}

/* The entry at @offset of the map, whole. */
static int
xattr_get(const Index *index, guint64 offset, Xattr *ret_xattr)
{
  ErofsXattrEntry entry;
  const guint8 *bytes = index_bytes(index, offset, sizeof entry);
  Xattr xattr;

  if (bytes == NULL)
    return -EUCLEAN;
  memcpy(&entry, bytes, sizeof entry);
  xattr = (Xattr){
      .index = entry.name_index,
      .rest = (const char *)bytes + sizeof entry,
      .rest_size = entry.name_size,
      .value = bytes + sizeof entry + entry.name_size,
      .value_size = GUINT16_FROM_LE(entry.value_size),
  };
  if (index_bytes(index, offset, sizeof entry + xattr.rest_size + xattr.value_size) == NULL ||
      erofs_xattr_prefix(xattr.index) == NULL || memchr(xattr.rest, '\0', xattr.rest_size) != NULL)
    return -EUCLEAN;
  *ret_xattr = xattr;
  return 0;
}

/* Returns 1 with the next xattr, 0 after the last. */
static int
walk_next(Walk *walk, Xattr *ret_xattr)
{
  Xattr xattr;
  int failure;

  if (walk->shared_next < walk->shared_count) {
    guint32 id;

    memcpy(&id, walk->index->map + walk->ids + 4 * (gsize)walk->shared_next++, sizeof id);
    failure =
        xattr_get(walk->index, walk->index->xattr_start + 4 * (guint64)GUINT32_FROM_LE(id), &xattr);
  } else if (walk->inline_next < walk->inline_end) {
    failure = xattr_get(walk->index, walk->inline_next, &xattr);
    if (failure != 0)
      return failure;
    walk->inline_next += erofs_xattr_entry_size(xattr.rest_size, xattr.value_size);
    if (walk->inline_next > walk->inline_end)
      return -EUCLEAN;
  } else {
    return 0;
  }
  if (failure != 0)
    return failure;
  *ret_xattr = xattr;
  return 1;
}

/* Finds the xattr that is stored as prefix @prefix and name @rest. Returns 0 or -ENODATA. */
static int
find_stored(const Index *index, guint64 nid, guint8 prefix, const char *rest, gsize rest_size,
            Xattr *ret_xattr)
{
  Xattr xattr;
  Walk walk;
  int result = walk_start(index, nid, &walk);

  if (result != 0)
    return result;
  if (walk.filter & erofs_xattr_filter_bit(prefix, rest, rest_size))
    return -ENODATA;
  while ((result = walk_next(&walk, &xattr)) == 1)
    if (xattr.index == prefix && xattr.rest_size == rest_size &&
        memcmp(xattr.rest, rest, rest_size) == 0) {
      *ret_xattr = xattr;
      return 0;
    }
  return result != 0 ? result : -ENODATA;
}

int
index_redirect(const Index *index, guint64 nid, char *buffer, gsize size)
{
  static const char name[] = "trusted.overlay.redirect";
  gsize prefix_size = 0;
  guint8 prefix = erofs_xattr_prefix_index(name, &prefix_size);
  Xattr xattr;
  int failure =
      find_stored(index, nid, prefix, name + prefix_size, strlen(name) - prefix_size, &xattr);

  if (failure != 0)
    return failure;
  if (xattr.value_size == 0 || xattr.value[0] != '/' ||
      memchr(xattr.value, '\0', xattr.value_size) != NULL)
    return -EUCLEAN;
  if (xattr.value_size >= size)
    return -ERANGE;
  memcpy(buffer, xattr.value, xattr.value_size);
  buffer[xattr.value_size] = '\0';
  return 0;
}

static gboolean
is_overlay(guint8 index, const char *rest, gsize size)
{
  const char *prefix = erofs_xattr_prefix(index);

  return strcmp(prefix, "trusted.") == 0 && size >= OVERLAY_SIZE &&
         memcmp(rest, OVERLAY, OVERLAY_SIZE) == 0;
}

gssize
index_getxattr(const Index *index, guint64 nid, const char *name, void *buffer, gsize size)
{
  char escaped[REST_MAX_SIZE];
  gsize prefix_size = 0, rest_size;
  guint8 prefix = erofs_xattr_prefix_index(name, &prefix_size);
  const char *rest = name + prefix_size;
  Xattr xattr;
  int failure;

  if (prefix == 0)
    return -ENODATA;
  rest_size = strlen(rest);
  if (rest_size > NAME_MAX_SIZE)
    return -ERANGE;
  if (is_overlay(prefix, rest, rest_size)) {
    memcpy(escaped, OVERLAY, OVERLAY_SIZE);
    memcpy(escaped + OVERLAY_SIZE, rest, rest_size);
    rest = escaped;
    rest_size += OVERLAY_SIZE;
  }
  failure = find_stored(index, nid, prefix, rest, rest_size, &xattr);
  if (failure != 0)
    return failure;
  if (size == 0)
    return (gssize)xattr.value_size;
  if (xattr.value_size > size)
    return -ERANGE;
  memcpy(buffer, xattr.value, xattr.value_size);
  return (gssize)xattr.value_size;
}

/* Turns @xattr's name into that of the image; FALSE for one that is not the image's. */
static gboolean
unescape(Xattr *xattr)
{
  if (!is_overlay(xattr->index, xattr->rest, xattr->rest_size))
    return TRUE;
  xattr->rest += OVERLAY_SIZE;
  xattr->rest_size -= OVERLAY_SIZE;
  return is_overlay(xattr->index, xattr->rest, xattr->rest_size);
}

gssize
index_listxattr(const Index *index, guint64 nid, char *buffer, gsize size)
{
  gsize used = 0;
  Xattr xattr;
  Walk walk;
  int result = walk_start(index, nid, &walk);

  if (result != 0)
    return result;
  while ((result = walk_next(&walk, &xattr)) == 1) {
    const char *prefix = erofs_xattr_prefix(xattr.index);
    gsize prefix_size = strlen(prefix);

    if (!unescape(&xattr))
      continue;
    if (size > 0) {
      if (prefix_size + xattr.rest_size + 1 > size - used)
        return -ERANGE;
      memcpy(buffer + used, prefix, prefix_size);
      memcpy(buffer + used + prefix_size, xattr.rest, xattr.rest_size);
      buffer[used + prefix_size + xattr.rest_size] = '\0';
    }
    used += prefix_size + xattr.rest_size + 1;
  }
  return result != 0 ? result : (gssize)used;
}
