/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * User and group ids of the image as the mount shows them, in attributes, in POSIX ACLs and in file
 * capabilities. Stands on driver/idmap. Part of the request path: no errors but "not mapped", no
 * allocation.
 */
#pragma once

#include "idmap.h"

/* What make_kuid() in the kernel takes for no id at all; of an attribute stat(2) then shows the
 * overflow id, as it does on an idmapped mount. In an ACL it is an error. */
#define IDS_UNMAPPED G_MAXUINT32

typedef struct {
  GArray *uids, *gids; /* of IdRange, sorted by ids_sort(); NULL: as they are */
  /* The ids that there are in the mount's user namespace, by ids_parse_own(); NULL: all. */
  GArray *own_uids, *own_gids;
} Ids;

/* Sorts the ranges as ids_map() wants them. NULL is fine. */
void ids_sort(GArray *ranges);

/* The ids of a user namespace whose uid_map or gid_map is @map, as sorted ranges that lead to
 * themselves; NULL when it has all. */
GArray *ids_parse_own(const char *map);

/* @id as @ranges map it. */
guint32 ids_map(const GArray *ranges, guint32 id);

/* Whether the value of the xattr @name holds ids, so that it must go through ids_map_xattr(). */
gboolean ids_concern_xattr(const Ids *ids, const char *name);

/* The most bytes by which ids_map_xattr() makes a value longer. */
#define IDS_XATTR_GROWTH 4

/* Maps the ids in @value, the @size bytes of the xattr @name, in place; there is room for
 * IDS_XATTR_GROWTH bytes more. POSIX ACLs (linux/posix_acl_xattr.h) lose the entries of users and
 * groups that are not mapped, as nobody can be one of them there. File capabilities
 * (linux/capability.h) of the image's root become such of the root that it is mapped to, as the
 * kernel does for an idmapped mount. Returns the new size or -ENODATA where that root is not
 * mapped. A value of any other form is left alone. */
gssize ids_map_xattr(const Ids *ids, const char *name, void *value, gsize size);
