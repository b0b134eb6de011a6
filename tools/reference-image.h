/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reference image of an image path (nixstore-image(5)): what Podman's storage gets.
 */
#pragma once

#include "reference.h"

#include <glib.h>

typedef struct {
  char *id;            /* 64 hex digits: of its config, Podman's image ID */
  GByteArray *archive; /* the image as a file */
  const char *format;  /* of it: "oci-archive" or, where its config needs that
                          (oci_config_is_docker()), "docker-archive" */
} ReferenceImage;

void reference_image_free(ReferenceImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReferenceImage, reference_image_free)

/* The image that stands for @reference, with the config @config (of @size bytes) but for the
 * layers.
 * @name: what it is to be called. The ID depends on @reference and @config alone. */
ReferenceImage *reference_image_new(const Reference *reference, const char *config, gsize size,
                                    const char *name, GError **error);
