/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The image path that an image was built on: its lowest layer is then a reference layer
 * (nixstore-image(5)), which holds no files but stands for a path of the Nix store. Stands on add,
 * image, reference-image, source, stage, trust.
 */
#pragma once

#include "add.h"
#include "image.h"
#include "reference.h"
#include "source.h"

typedef struct {
  Reference *reference;
  Image *image;
  AddHold *hold; /* of the path */
} Base;

void base_free(Base *base);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Base, base_free)

/* Whether layer number @layer, as LayerTarget counts them, has put a reference into @tree, which it
 * was the last to be applied to. */
gboolean base_is_reference(Tree *tree, guint32 layer);

/* If @tree, to which the lowest layer alone was applied, is a reference, replaces it by the tree
 * that this stands for, whose content @stage reads from the store, and returns that in *ret_base,
 * which must outlive both; else *ret_base is NULL. An error as trust_check_reference() has it where
 * the reference cannot be followed. */
gboolean base_follow(Tree **tree, Stage *stage, Base **ret_base, GError **error);

/* If @source is no more than the reference image of @base, as `nixstore import' makes it, gives it
 * the config of the image that was converted to that path. Returns whether it is. */
gboolean base_is_all(const Base *base, Source *source);
