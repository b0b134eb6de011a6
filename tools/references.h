/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The images in Podman's storage that stand on a path of the Nix store. Stands on argument, podman
 * and store.
 */
#pragma once

#include "podman.h"

typedef struct {
  PodmanImage *image;
  Reference *reference;
  gboolean present; /* the store has the path */
  guint64 size;     /* of its NAR; 0 when it is not present */
} ImageReference;

/* All of Podman's images, of PodmanImage, each once; what is wrong goes to @left_out as below. */
GPtrArray *references_list_images(GPtrArray *left_out, GError **error);

/* All of them, of ImageReference; what could not be read is left out, with a line appended to
 * @left_out for each. */
GPtrArray *references_list(GPtrArray *left_out, GError **error);

/* Asks the store which paths it has: present and size. */
void references_look_up(GPtrArray *references);

/* The path that the reference of @image, which the user calls @name, leads to: the store has it
 * with the NAR hash of the reference. INVALID for an ordinary image, NOT_FOUND, UNTRUSTED. */
char *references_trusted_path(const PodmanImage *image, const char *name, GError **error);

/* The image path that the argument @argument names: as argument_store_path() reads it, or else as
 * the name or the ID of an image of Podman's, which *ret_image (may be NULL; set it to NULL before)
 * is then. */
char *references_argument_path(const char *argument, PodmanImage **ret_image, GError **error);
