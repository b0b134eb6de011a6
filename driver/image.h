/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An image path in the store (nixstore-image(5)): rootfs/, ownership.mtree, config.json,
 * image.json. Stands on manifest, reference, rootfs, tree, util.
 */
#pragma once

#include "reference.h"
#include "tree.h"

#define IMAGE_FORMAT_VERSION 1

/* The parts of an image path. */
#define IMAGE_JSON "image.json"
#define IMAGE_CONFIG "config.json"
#define IMAGE_MANIFEST "ownership.mtree"
#define IMAGE_ROOTFS "rootfs"

typedef struct {
  char *path;            /* absolute */
  int fd;                /* the directory */
  int rootfs_fd;         /* rootfs/ */
  char *config_digest;   /* "sha256:<hex>" of config.json: the image ID */
  char *manifest_digest; /* "sha256:<hex>" of ownership.mtree */
} Image;

/* Opens the image path @path and reads image.json. INVALID for anything but a format this version
 * knows, or where a part is missing or of another type. The digests are image.json's word:
 * image_load_tree() and image_read_config() compare them with the files. */
Image *image_open(const char *path, GError **error);
void image_free(Image *image);

/* The same for the path that @reference names. UNTRUSTED where that holds another manifest than the
 * reference says. */
Image *image_open_reference(const Reference *reference, GError **error);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Image, image_free)

/* The tree that the manifest describes, its digest checked, not bound to rootfs. */
Tree *image_read_manifest(Image *image, GError **error);

/* The tree of the image: manifest read, its digest checked, bound to rootfs. */
Tree *image_load_tree(Image *image, GError **error);

/* config.json, its digest checked. Caller frees. */
char *image_read_config(Image *image, gsize *ret_size, GError **error);

/* Fills in @image's digests from @text, an image.json. Part of image_open(); for the fuzzer. */
gboolean image_parse_json(Image *image, const char *text, gsize size, GError **error);

/* The text of image.json for the two digests ("sha256:<hex>"): the same bytes always. */
char *image_serialise(const char *config_digest, const char *manifest_digest);
