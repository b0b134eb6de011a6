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

/* An image of one layer; the digests are those of the texts. */
typedef struct {
  GByteArray *layer;
  OciBlob layer_blob, config_blob;
  char *config;
} Parts;

static void
parts_clear(Parts *parts)
{
  g_clear_pointer(&parts->layer, g_byte_array_unref);
  g_free(parts->layer_blob.digest);
  g_free(parts->config_blob.digest);
  g_free(parts->config);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Parts, parts_clear)

static void
append_oci(GByteArray *archive, const Parts *parts, const Reference *reference, const char *name)
{
  OciBlob manifest_blob;
  g_autofree char *manifest = oci_manifest(&parts->config_blob, &parts->layer_blob, reference);
  oci_blob_describe(&manifest_blob, NULL, manifest, strlen(manifest));
  g_autofree char *manifest_digest = manifest_blob.digest;
  g_autofree char *index = oci_index(manifest, name);
  ustar_append_file(archive, "oci-layout", OCI_LAYOUT, strlen(OCI_LAYOUT));
  append_blob(archive, parts->layer_blob.digest, parts->layer->data, parts->layer->len);
  append_blob(archive, parts->config_blob.digest, parts->config, strlen(parts->config));
  append_blob(archive, manifest_digest, manifest, strlen(manifest));
  ustar_append_file(archive, "index.json", index, strlen(index));
}

static void
append_docker(GByteArray *archive, const Parts *parts, const char *name)
{
  const char *hex = parts->config_blob.digest + strlen("sha256:");
  g_autofree char *config = g_strconcat(hex, ".json", NULL);
  g_autofree char *manifest = oci_docker_manifest(config, "layer.tar", name);
  ustar_append_file(archive, "manifest.json", manifest, strlen(manifest));
  ustar_append_file(archive, config, parts->config, strlen(parts->config));
  ustar_append_file(archive, "layer.tar", parts->layer->data, parts->layer->len);
}

ReferenceImage *
reference_image_new(const Reference *reference, const char *config, gsize size, const char *name,
                    GError **error)
{
  g_auto(Parts) parts = {0};
  parts.layer = layer_new(reference);
  oci_blob_describe(&parts.layer_blob, OCI_LAYER_TYPE, parts.layer->data, parts.layer->len);
  parts.config = oci_config_collapse(config, size, parts.layer_blob.digest, error);
  if (!parts.config)
    return NULL;
  oci_blob_describe(&parts.config_blob, OCI_CONFIG_TYPE, parts.config, strlen(parts.config));

  ReferenceImage *image = g_new0(ReferenceImage, 1);
  image->id = g_strdup(parts.config_blob.digest + strlen("sha256:"));
  image->archive = g_byte_array_new();
  if (oci_config_is_docker(config, size)) {
    image->format = "docker-archive";
    append_docker(image->archive, &parts, name);
  } else {
    image->format = "oci-archive";
    append_oci(image->archive, &parts, reference, name);
  }
  ustar_append_end(image->archive);
  return image;
}
