/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mappings of user and group ids, as Podman writes them, and the user namespace that makes the
 * kernel apply them to a mount (mount_setattr(2), MOUNT_ATTR_IDMAP). Stands on util.
 */
#pragma once

#include <glib.h>

/* Ranges that the kernel takes in one mapping (user_namespaces(7)). */
#define IDMAP_MAX_RANGES 340

typedef struct {
  guint32 container; /* first id as the filesystem has it */
  guint32 host;      /* first id as the host sees it */
  guint32 size;      /* how many; never 0 */
} IdRange;

/* Reads "container:host:size", repeated, with or without a leading colon. The array (of IdRange) is
 * the caller's; NULL when @text holds no range at all. INVALID for anything else, also for ranges
 * that overlap on either side or go beyond 2^32 - 2. */
gboolean idmap_parse(const char *text, GArray **ret_ranges, GError **error);

/* What the host calls the id @id of the filesystem: the same without @ranges (NULL). FALSE when
 * they leave it out. */
gboolean idmap_map(const GArray *ranges, guint32 id, guint32 *ret_id);

/* A descriptor of a new user namespace with these mappings (of IdRange). No process is left. */
int idmap_open_userns(const GArray *uids, const GArray *gids, GError **error);
