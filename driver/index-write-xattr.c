/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-write.h"

#include <linux/limits.h>
#include <string.h>

#include "erofs-format.h"
#include "hash.h"
#include "util.h"

/* Values from this size on are kept away from the inodes, so that those stay close together. */
#define SHARE_SIZE 512
#define MAX_SHARED G_MAXUINT8

/* One name with one value, however many inodes have it. */
typedef struct {
  const TreeXattr *xattr;
  const char *rest; /* the name without its prefix, escaped */
  gsize rest_size;
  char *owned_rest; /* when it had to be made */
  guint32 count;
  guint32 filter_bit;
  guint32 id;
  gboolean shared;
  guint8 index;
} Item;

struct IndexXattrs {
  GHashTable *items; /* const TreeXattr * (by name and value) -> Item */
  GPtrArray *order;  /* the same, in order of appearance; owns them */
  Item *metacopy, *redirect;
};

static guint
xattr_hash(gconstpointer key)
{
  const TreeXattr *xattr = key;

  return hash_string(xattr->name) * 33 + hash_bytes(xattr->value, xattr->size);
}

static gboolean
xattr_equal(gconstpointer a, gconstpointer b)
{
  const TreeXattr *left = a, *right = b;

  return left->size == right->size && strcmp(left->name, right->name) == 0 &&
         memcmp(left->value, right->value, left->size) == 0;
}

static void
item_free(gpointer data)
{
  Item *item = data;

  g_free(item->owned_rest);
  g_free(item);
}

/* Adds an item for @xattr, whose prefix EROFS must know; @escape for one of the image, which
 * overlayfs must show and not obey: trusted.overlay.X is kept as trusted.overlay.overlay.X
 * (Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts"). user.overlay.X means
 * nothing to a mount without the option userxattr and is shown as it is. */
static Item *
item_add(IndexXattrs *xattrs, const TreeXattr *xattr, gboolean escape, guint8 index,
         gsize prefix_size)
{
  Item *item = g_new0(Item, 1);

  item->xattr = xattr;
  item->index = index;
  item->rest = xattr->name + prefix_size;
  if (escape && g_str_has_prefix(xattr->name, INDEX_XATTR_OVERLAY))
    item->rest = item->owned_rest = g_strconcat("overlay.", item->rest, NULL);
  item->rest_size = strlen(item->rest);
  item->filter_bit = erofs_xattr_filter_bit(index, item->rest, item->rest_size);
  g_ptr_array_add(xattrs->order, item);
  return item;
}

static gsize
item_size(const Item *item)
{
  return erofs_xattr_entry_size(item->rest_size, item->xattr->size);
}

/* The two of overlayfs are not in the hash table: nothing in a tree can be mistaken for them. */
static Item *
item_add_overlay(IndexXattrs *xattrs, const TreeXattr *xattr)
{
  gsize prefix_size = 0;
  guint8 index = erofs_xattr_prefix_index(xattr->name, &prefix_size);

  return item_add(xattrs, xattr, FALSE, index, prefix_size);
}

IndexXattrs *
index_xattrs_new(void)
{
  static const TreeXattr metacopy = {(char *)INDEX_XATTR_METACOPY, (guint8 *)"", 0};
  static const TreeXattr redirect = {(char *)INDEX_XATTR_REDIRECT, (guint8 *)"", 0};
  IndexXattrs *xattrs = g_new0(IndexXattrs, 1);

  xattrs->items = g_hash_table_new(xattr_hash, xattr_equal);
  xattrs->order = g_ptr_array_new_with_free_func(item_free);
  xattrs->metacopy = item_add_overlay(xattrs, &metacopy);
  xattrs->metacopy->shared = TRUE;
  xattrs->redirect = item_add_overlay(xattrs, &redirect);
  return xattrs;
}

void
index_xattrs_free(IndexXattrs *xattrs)
{
  if (xattrs == NULL)
    return;
  g_hash_table_unref(xattrs->items);
  g_ptr_array_unref(xattrs->order);
  g_free(xattrs);
}

static gboolean
count_xattr(IndexXattrs *xattrs, const TreeXattr *xattr, GError **error)
{
  Item *item = g_hash_table_lookup(xattrs->items, xattr);

  if (item == NULL) {
    gsize prefix_size = 0;
    guint8 index = erofs_xattr_prefix_index(xattr->name, &prefix_size);

    if (index == 0)
      return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                        "EROFS has no place for an extended attribute called `%s`", xattr->name);
    if (xattr->size > G_MAXUINT16)
      return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                        "The extended attribute `%s` has %" G_GSIZE_FORMAT
                        " bytes; EROFS holds at most %u",
                        xattr->name, xattr->size, G_MAXUINT16);
    item = item_add(xattrs, xattr, TRUE, index, prefix_size);
    g_hash_table_insert(xattrs->items, (gpointer)xattr, item);
    if (prefix_size + item->rest_size > XATTR_NAME_MAX)
      return util_error(
          error, NIXSTORE_ERROR_UNSUPPORTED,
          "The extended attribute's name `%s`, as overlayfs has it escaped, is too long",
          xattr->name);
  }
  item->count++;
  return TRUE;
}

gboolean
index_xattrs_count(IndexXattrs *xattrs, const TreeInode *inode, GError **error)
{
  if (inode->xattrs == NULL)
    return TRUE;
  for (guint i = 0; i < inode->xattrs->len; i++)
    if (!count_xattr(xattrs, &g_array_index(inode->xattrs, TreeXattr, i), error))
      return FALSE;
  return TRUE;
}

gsize
index_xattrs_settle(IndexXattrs *xattrs)
{
  gsize size = 0;

  for (guint i = 0; i < xattrs->order->len; i++) {
    Item *item = g_ptr_array_index(xattrs->order, i);

    item->shared |= item->count > 1 || item->xattr->size >= SHARE_SIZE;
    if (!item->shared)
      continue;
    item->id = (guint32)(size / 4);
    size += item_size(item);
  }
  return size;
}

gboolean
index_xattrs_any(const IndexXattrs *xattrs)
{
  return g_hash_table_size(xattrs->items) > 0;
}

/* Where one inode's xattrs go; with the pointers NULL they are only measured. */
typedef struct {
  ErofsXattrHeader header;
  gsize inline_size;
  guint8 *ids, *entries;
} Area;

static void
entry_store(guint8 *out, const Item *item, const void *value, gsize size)
{
  ErofsXattrEntry entry = {(guint8)item->rest_size, item->index, GUINT16_TO_LE((guint16)size)};

  memcpy(out, &entry, sizeof entry);
  memcpy(out + sizeof entry, item->rest, item->rest_size);
  memcpy(out + sizeof entry + item->rest_size, value, size);
}

static void
area_add(Area *area, const Item *item, const void *value, gsize size)
{
  area->header.filter &= ~item->filter_bit;
  if (item->shared && area->header.shared_count < MAX_SHARED) {
    if (area->ids != NULL) {
      guint32 id = GUINT32_TO_LE(item->id);
      memcpy(area->ids + 4 * area->header.shared_count, &id, sizeof id);
    }
    area->header.shared_count++;
    return;
  }
  if (area->entries != NULL)
    entry_store(area->entries + area->inline_size, item, value, size);
  area->inline_size += erofs_xattr_entry_size(item->rest_size, size);
}

static void
area_add_all(Area *area, IndexXattrs *xattrs, const TreeInode *inode, const char *redirect,
             gsize redirect_size)
{
  area->header.filter = EROFS_XATTR_FILTER_ALL;
  area->header.shared_count = 0;
  area->inline_size = 0;
  if (redirect_size > 0) {
    area_add(area, xattrs->metacopy, "", 0);
    area_add(area, xattrs->redirect, redirect, redirect_size);
  }
  for (guint i = 0; inode->xattrs != NULL && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    area_add(area, g_hash_table_lookup(xattrs->items, xattr), xattr->value, xattr->size);
  }
}

static gboolean
has_any(const TreeInode *inode, gsize redirect_size)
{
  return redirect_size > 0 || (inode->xattrs != NULL && inode->xattrs->len > 0);
}

gsize
index_xattrs_measure(IndexXattrs *xattrs, const TreeInode *inode, gsize redirect_size)
{
  Area area = {0};

  if (!has_any(inode, redirect_size))
    return 0;
  area_add_all(&area, xattrs, inode, NULL, redirect_size);
  return sizeof area.header + 4 * (gsize)area.header.shared_count + area.inline_size;
}

void
index_xattrs_store(IndexXattrs *xattrs, const TreeInode *inode, const char *redirect,
                   gsize redirect_size, guint8 *out)
{
  Area area = {0};

  if (!has_any(inode, redirect_size))
    return;
  /* How many ids there are must be known before the first entry's place is. */
  area_add_all(&area, xattrs, inode, redirect, redirect_size);
  area.ids = out + sizeof area.header;
  area.entries = area.ids + 4 * (gsize)area.header.shared_count;
  area_add_all(&area, xattrs, inode, redirect, redirect_size);
  area.header.filter = GUINT32_TO_LE(area.header.filter);
  memcpy(out, &area.header, sizeof area.header);
}

void
index_xattrs_store_shared(IndexXattrs *xattrs, guint8 *out)
{
  for (guint i = 0; i < xattrs->order->len; i++) {
    const Item *item = g_ptr_array_index(xattrs->order, i);

    if (item->shared)
      entry_store(out + 4 * (gsize)item->id, item, item->xattr->value, item->xattr->size);
  }
}
