/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layouts in which an image of one layer is written: what stands around the layer.
 */
#pragma once

#include "image.h"
#include "layer-writer.h"

#include <glib.h>

typedef struct {
  Image *image;
  Tree *tree;         /* of @image */
  const char *config; /* config.json, of @config_size bytes */
  gsize config_size;
  const char *name; /* "localhost/debian:latest" */
  LayerCompression compression;
} ExportImage;

/* An OCI image layout in a tar (image-layout.md of the OCI image specification) to the empty file
 * @fd.
 * @path is for errors. */
gboolean export_oci_archive(const ExportImage *image, int fd, const char *path, GError **error);

/* The same in the empty directory @fd. */
gboolean export_oci_directory(const ExportImage *image, int fd, const char *path, GError **error);

/* What `docker save` writes, version 1.2 of the Docker image specification, to the empty file @fd.
 * The layer is not compressed. */
gboolean export_docker_archive(const ExportImage *image, int fd, const char *path, GError **error);
