/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Registering an image path with Podman, for `import` and `convert --import`.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *name;          /* as Podman has it: "localhost/debian:latest" */
  char *image_id;      /* 64 hex digits: Podman's ID of the reference image */
  char *config_digest; /* "sha256:<hex>": the ID of the image that the path is of */
  gboolean existed;    /* it was there, under that name, before */
  gboolean loaded;     /* it was not there, under any name */
} Import;

void import_free(Import *import);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Import, import_free)

/* Loads the reference image of @store_path into Podman's storage under @name (NULL: made from the
 * path's own name), makes the GC root beside its layer, compiles the index. */
Import *import_image(const char *store_path, const char *name, GError **error);
