/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The JSON documents of an OCI image with one layer (OCI image specification: config.md,
 * manifest.md, image-index.md, image-layout.md). The same arguments give the same bytes.
 */
#pragma once

#include "reference.h"

#include <glib.h>

#define OCI_LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"

#define OCI_CONFIG_TYPE "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"

/* A blob as others name it. */
typedef struct {
  const char *media_type;
  char *digest; /* "sha256:<hex>"; whoever made the blob frees it */
  guint64 size;
} OciBlob;

/* Fills in @ret_blob for @data; the caller frees its digest. */
void oci_blob_describe(OciBlob *ret_blob, const char *media_type, const void *data, gsize size);

/* The image config @config with the one layer @diff_id ("sha256:<hex>") in place of its own; of its
 * history, the last entry that made a layer keeps it and the others are marked as empty. INVALID
 * for what is no image config. Caller frees. */
char *oci_config_collapse(const char *config, gsize size, const char *diff_id, GError **error);

/* The manifest. With @reference, annotated as nixstore-image(5) says. Caller frees. */
char *oci_manifest(const OciBlob *config, const OciBlob *layer, const Reference *reference);

/* The image index that names @manifest, and with @name says what the image is called
 * ("localhost/debian:latest"). Caller frees. */
char *oci_index(const char *manifest, const char *name);

/* The manifest.json of what `docker save` writes (Docker image specification 1.2): the names of
 * config and layer within the archive. Caller frees. */
char *oci_docker_manifest(const char *config_file, const char *layer_file, const char *name);

/* Whether @config says something that Podman heeds in images of Docker's format alone: HEALTHCHECK,
 * which the OCI image specification does not have. */
gboolean oci_config_is_docker(const char *config, gsize size);
