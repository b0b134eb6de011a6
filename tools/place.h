/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A staged image as a directory, for where Nix takes nothing else (add.h).
 */
#pragma once

#include "stage.h"

/* Makes the image path, called by its name, in the directory @parent_fd. */
gboolean place_image(const StagedImage *image, int parent_fd, GError **error);
