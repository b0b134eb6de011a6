/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "reference-image.h"
#include "oci.h"
#include "ustar.h"
#include "util.h"

#include <string.h>

void
reference_image_free(ReferenceImage *image)
{
  if (!image)
    return;
  g_byte_array_unref(image->archive);
  g_free(image->id);
  g_free(image);
}

static GByteArray *
layer_new(const Reference *reference)
{
  GByteArray *layer = g_byte_array_new();
  g_autofree char *text = reference_serialise(reference);
  ustar_append_directory(layer, REFERENCE_DIRECTORY "/");
  ustar_append_file(layer, REFERENCE_PATH, text, strlen(text));
  ustar_append_end(layer);
  return layer;
}

static void
append_blob(GByteArray *archive, const char *digest, const void *data, gsize size)
{
  g_autofree char *name = g_strconcat("blobs/sha256/", digest + strlen("sha256:"), NULL);
  ustar_append_file(archive, name, data, size);
}

ReferenceImage *
reference_image_new(const Reference *reference, const char *config, gsize size, const char *name,
                    GError **error)
{
  g_autoptr(GByteArray) layer = layer_new(reference);
  OciBlob layer_blob, config_blob, manifest_blob;
  oci_blob_describe(&layer_blob, OCI_LAYER_TYPE, layer->data, layer->len);
  g_autofree char *layer_digest = layer_blob.digest;
  g_autofree char *own_config = oci_config_collapse(config, size, layer_digest, error);
  if (!own_config)
    return NULL;
  oci_blob_describe(&config_blob, OCI_CONFIG_TYPE, own_config, strlen(own_config));
  g_autofree char *config_digest = config_blob.digest;
  g_autofree char *manifest = oci_manifest(&config_blob, &layer_blob, reference);
  oci_blob_describe(&manifest_blob, NULL, manifest, strlen(manifest));
  g_autofree char *manifest_digest = manifest_blob.digest;
  g_autofree char *index = oci_index(manifest, name);

  ReferenceImage *image = g_new0(ReferenceImage, 1);
  image->id = g_strdup(config_digest + strlen("sha256:"));
  image->archive = g_byte_array_new();
  ustar_append_file(image->archive, "oci-layout", OCI_LAYOUT, strlen(OCI_LAYOUT));
  append_blob(image->archive, layer_digest, layer->data, layer->len);
  append_blob(image->archive, config_digest, own_config, strlen(own_config));
  append_blob(image->archive, manifest_digest, manifest, strlen(manifest));
  ustar_append_file(image->archive, "index.json", index, strlen(index));
  ustar_append_end(image->archive);
  return image;
}
