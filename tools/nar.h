/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The Nix archive (NAR) of a staged image: what `nix-store --dump` gives of the image path that it
 * will be. Source of the format: E. Dolstra, The Purely Functional Software Deployment Model, 2006,
 * figure 5.2, and Nix's src/libutil/archive.cc.
 */
#pragma once

#include "stage.h"

/* Takes the next piece of the archive. */
typedef gboolean (*NarSink)(void *data, const void *piece, gsize size, GError **error);

/* Pieces have NAR_PIECE_SIZE bytes, but for the last. */
#define NAR_PIECE_SIZE (128 * 1024)

/* Gives all of @image's archive to @sink. The tree's inodes' marks are changed. */
gboolean nar_write(const StagedImage *image, NarSink sink, void *data, GError **error);
