/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether what an entry of the cache hangs on still holds. Stands on cache-entries and store.
 */
#pragma once

#include "cache-entries.h"

/* Store paths that are an indirect GC root's, whoever made it: each image in a Podman storage on
 * this host that was ever mounted is one. NULL where that cannot be known. */
GHashTable *cache_facts_rooted(void);

/* Why @entry is of no use any more, one line; NULL when it may be. @rooted: of the above, or NULL.
 */
char *cache_facts_judge(const CacheEntry *entry, GHashTable *rooted);
