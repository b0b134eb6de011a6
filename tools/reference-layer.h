/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layer of a reference image, where Podman has unpacked it. Stands on podman, reference and
 * store.
 */
#pragma once

#include "podman.h"

/* Whether the layers of @image, which Podman has, are on this host (UNSUPPORTED): an image of a
 * Podman elsewhere can be loaded, but not be given what its containers need. The home of all layers
 * tells; where another host has one of that name, too, Podman is asked. */
gboolean reference_layer_check_is_here(const PodmanImage *image, GError **error);

/* Whether the layer still has @reference, and the name that overlay has for it, which tells
 * nixstore-mount that it is a layer. */
gboolean reference_layer_is_whole(const PodmanImage *image, const Reference *reference);

/* Makes the reference last, and ties the life of @store_path to that of the layer. An error also
 * where the image is removed meanwhile; then nothing of it is left. */
gboolean reference_layer_add_root(const PodmanImage *image, const char *store_path, GError **error);
