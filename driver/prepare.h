/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a better mode than the one that was just mounted needs on disk is made behind the caller's
 * back, so that no start waits for it. Stands on backend, background, cache, overlaydir and
 * settings.
 */
#pragma once

#include "backend.h"
#include "cache.h"

/* Whether there is a point in prepare_later(): it is not made, and did not fail here before. */
gboolean prepare_is_wanted(const Backend *backend, const MountPlan *plan);

/* Has a background process call @backend's prepare() for @plan and the index @index_fd, if @backend
 * works on this kernel, which is tried out once. Best effort. */
void prepare_later(const Backend *backend, const MountPlan *plan, int index_fd, Cache *cache);
