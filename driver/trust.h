/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether a reference, which a stranger may have written, is to be followed. Stands on cache,
 * image, reference, store and util.
 */
#pragma once

#include "cache.h"
#include "reference.h"

/* TRUE when the store's own record of the path's NAR hash is that of @reference (whoever names the
 * content by its hash knows it already) and the path holds the manifest that it names. The verdict
 * is kept for as long as the path is the same inode. UNTRUSTED when the hashes differ or others can
 * write to the store; NOT_FOUND when the path is gone. */
gboolean trust_check_reference(Cache *cache, const Reference *reference, GError **error);
