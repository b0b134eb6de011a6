/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "ids.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY "security.capability"

/* linux/posix_acl_xattr.h, which not every distribution ships. All little-endian. */
#define ACL_VERSION 2
#define ACL_TAG_USER 0x02
#define ACL_TAG_GROUP 0x08
typedef struct {
  guint16 tag, permissions;
  guint32 id;
} AclEntry;

static int
ids_compare(gconstpointer a, gconstpointer b)
{
  guint32 x = ((const IdRange *)a)->container, y = ((const IdRange *)b)->container;

  return (x > y) - (x < y);
}

void
ids_sort(GArray *ranges)
{
  if (ranges)
    g_array_sort(ranges, ids_compare);
}

guint32
ids_map(const GArray *ranges, guint32 id)
{
  guint low = 0, high;

  if (!ranges)
    return id;
  /* The last range that begins at or before @id. */
  for (high = ranges->len; low < high;) {
    guint middle = low + (high - low) / 2;
    if (g_array_index(ranges, IdRange, middle).container <= id)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0)
    return IDS_UNMAPPED;
  const IdRange *range = &g_array_index(ranges, IdRange, low - 1);
  return id - range->container < range->size ? range->host + (id - range->container) : IDS_UNMAPPED;
}

GArray *
ids_parse_own(const char *map)
{
  g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(IdRange));
  IdRange range;

  for (const char *line = map; sscanf(line, "%u %*u %u", &range.container, &range.size) == 2;) {
    range.host = range.container;
    g_array_append_val(ranges, range);
    if (!(line = strchr(line, '\n')))
      break;
    line++;
  }
  /* All of them, as in the host's own namespace; a map that nobody wrote or that cannot be read
   * tells nothing. */
  if (ranges->len == 0 ||
      (ranges->len == 1 && g_array_index(ranges, IdRange, 0).size == G_MAXUINT32))
    return NULL;
  ids_sort(ranges);
  return g_steal_pointer(&ranges);
}

static gboolean
ids_is_acl(const char *name)
{
  return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

gboolean
ids_concern_xattr(const Ids *ids, const char *name)
{
  if (ids->uids || ids->gids)
    return ids_is_acl(name) || strcmp(name, CAPABILITY) == 0;
  return (ids->own_uids || ids->own_gids) && ids_is_acl(name);
}

/* FALSE when the kernel cannot know whom @entry names. */
static gboolean
ids_map_acl_entry(const Ids *ids, AclEntry *entry)
{
  guint16 tag = GUINT16_FROM_LE(entry->tag);
  guint32 id = GUINT32_FROM_LE(entry->id);

  if (tag == ACL_TAG_USER)
    id = ids_map(ids->own_uids, ids_map(ids->uids, id));
  else if (tag == ACL_TAG_GROUP)
    id = ids_map(ids->own_gids, ids_map(ids->gids, id));
  else
    return TRUE;
  entry->id = GUINT32_TO_LE(id);
  return id != IDS_UNMAPPED;
}

/* One entry for nobody makes the kernel refuse the list, and with it the file, to everybody. A mask
 * stays where it was the mask of such entries alone: it is what the mode shows for the group, and
 * limits the group's own entry. */
static gsize
ids_map_acl(const Ids *ids, char *value, gsize size)
{
  guint32 version;
  gsize end = sizeof version;

  if (size < sizeof version || (size - sizeof version) % sizeof(AclEntry) != 0)
    return size;
  memcpy(&version, value, sizeof version);
  if (GUINT32_FROM_LE(version) != ACL_VERSION)
    return size;
  for (gsize at = sizeof version; at < size; at += sizeof(AclEntry)) {
    AclEntry entry;
    memcpy(&entry, value + at, sizeof entry);
    if (!ids_map_acl_entry(ids, &entry))
      continue;
    memcpy(value + end, &entry, sizeof entry);
    end += sizeof entry;
  }
  return end;
}

static gssize
ids_map_capability(const Ids *ids, char *value, gsize size)
{
  struct vfs_ns_cap_data cap = {0};
  guint32 magic, root = 0;

  if (size != XATTR_CAPS_SZ_2 && size != XATTR_CAPS_SZ_3)
    return (gssize)size;
  memcpy(&cap, value, size);
  magic = GUINT32_FROM_LE(cap.magic_etc);
  if (size == XATTR_CAPS_SZ_3 && (magic & VFS_CAP_REVISION_MASK) == VFS_CAP_REVISION_3)
    root = GUINT32_FROM_LE(cap.rootid);
  else if (size != XATTR_CAPS_SZ_2 || (magic & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_2)
    return (gssize)size;
  root = ids_map(ids->uids, root);
  if (root == IDS_UNMAPPED)
    return -ENODATA;
  if (root == 0 && size == XATTR_CAPS_SZ_2)
    return (gssize)size;
  cap.magic_etc = GUINT32_TO_LE((magic & ~VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_3);
  cap.rootid = GUINT32_TO_LE(root);
  memcpy(value, &cap, XATTR_CAPS_SZ_3);
  return XATTR_CAPS_SZ_3;
}

G_STATIC_ASSERT(XATTR_CAPS_SZ_3 - XATTR_CAPS_SZ_2 == IDS_XATTR_GROWTH);

gssize
ids_map_xattr(const Ids *ids, const char *name, void *value, gsize size)
{
  if (strcmp(name, CAPABILITY) == 0)
    return ids_map_capability(ids, value, size);
  return (gssize)ids_map_acl(ids, value, size);
}
