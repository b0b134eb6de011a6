/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Converting an image, for `convert` and `convert --replace`. Stands on source, layer, stage and
 * store.
 */
#pragma once

#include "add.h"

/* Converts the image @spec (as source.h takes them) to an image path called @name (of the store:
 * passed store_name_is_valid()). @max_size: as in SourceOptions. Returns the store path;
 * *ret_hold as for add_image(). */
char *convert_image(const char *spec, const char *name, guint64 max_size, AddHold **ret_hold,
                    GError **error);
