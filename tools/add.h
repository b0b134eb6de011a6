/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Adding a staged image to the Nix store.
 */
#pragma once

#include "stage.h"

/* What keeps an added path from a garbage collection until it has a root of its own. */
typedef struct AddHold AddHold;

/* Lets the path go; takes NULL. */
void add_hold_free(AddHold *hold);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AddHold, add_hold_free)

/* Holds @store_path, which is in the store already, or is not: it is not looked for. */
AddHold *add_hold_path(const char *store_path, GError **error);

/* Adds @image, whose tree passed stage_check_paths(); returns its store path, which *ret_hold
 * holds. The tree's inodes' marks are changed.
 */
char *add_image(const StagedImage *image, AddHold **ret_hold, GError **error);
