/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * `nixstore convert --replace`: images that Podman has already become Nix-backed. Stands on
 * convert, import and podman.
 */
#pragma once

#include <glib.h>

/* What the names of a replaced image lead to. */
typedef struct {
  char *name; /* the first of them */
  char *store_path;
  char *config_digest; /* "sha256:<hex>": the ID of the image that the path is of */
  char *image_id;      /* of the reference image */
  char *old_id;        /* of the image before, which keeps its layers until it is removed; NULL: it
                          was a reference and no more, nothing was done */
} Replacement;

void replacement_free(Replacement *replacement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Replacement, replacement_free)

/* Converts the image @image of Podman's storage, an ordinary one or one that was built upon a
 * Nix-backed one, imports that, and gives it all names that
 * @image has. @name: the name part of the store path; NULL: made of the image's first name. Until
 * the names change hands, at once and at the end, nothing about @image is different; its containers
 * notice nothing. UNSUPPORTED for an image without a name and for a storage driver that could not
 * run the result. */
Replacement *replace_image(const char *image, const char *name, guint64 max_size, GError **error);

/* Waits for whoever else of this user replaces pulled images, as both would take the same. The lock
 * goes with the returned descriptor. */
int replace_lock(GError **error);

/* The IDs of all ordinary images that have a name of a registry (not localhost/), NULL at the end:
 * those that were pulled. */
char **replace_list_pulled(GError **error);
