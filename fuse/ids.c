/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "ids.h"

#include <errno.h>
#include <linux/capability.h>
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

gboolean
ids_concern_xattr(const Ids *ids, const char *name)
{
  return (ids->uids || ids->gids) &&
         (strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0 ||
          strcmp(name, CAPABILITY) == 0);
}

static void
ids_map_acl(const Ids *ids, char *value, gsize size)
{
  guint32 version;

  if (size < sizeof version || (size - sizeof version) % sizeof(AclEntry) != 0)
    return;
  memcpy(&version, value, sizeof version);
  if (GUINT32_FROM_LE(version) != ACL_VERSION)
    return;
  for (gsize at = sizeof version; at < size; at += sizeof(AclEntry)) {
    AclEntry entry;
    memcpy(&entry, value + at, sizeof entry);
    guint16 tag = GUINT16_FROM_LE(entry.tag);
    if (tag != ACL_TAG_USER && tag != ACL_TAG_GROUP)
      continue;
    entry.id = GUINT32_TO_LE(
        ids_map(tag == ACL_TAG_USER ? ids->uids : ids->gids, GUINT32_FROM_LE(entry.id)));
    memcpy(value + at, &entry, sizeof entry);
  }
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
  ids_map_acl(ids, value, size);
  return (gssize)size;
}
