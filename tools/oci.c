/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "oci.h"
#include "json-text.h"
#include "output.h"
#include "util.h"

#include <string.h>

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

void
oci_blob_describe(OciBlob *ret_blob, const char *media_type, const void *data, gsize size)
{
  g_autofree char *hex = util_sha256_hex(data, size);
  ret_blob->media_type = media_type;
  ret_blob->digest = g_strconcat("sha256:", hex, NULL);
  ret_blob->size = size;
}

/* As jansson gives it, but for the allocator. */
static char *
dump(json_t *value)
{
  char *text = json_dumps(value, JSON_COMPACT);
  char *copy = g_strdup(text);
  free(text);
  return copy;
}

static gboolean
entry_makes_layer(json_t *entry)
{
  return !json_is_true(json_object_get(entry, "empty_layer"));
}

/* As many entries must make a layer as there are layers: the last that does stands for all. */
static void
collapse_history(json_t *history)
{
  gboolean found = FALSE;
  for (gsize i = json_array_size(history); i-- > 0;) {
    json_t *entry = json_array_get(history, i);
    if (!json_is_object(entry) || !entry_makes_layer(entry))
      continue;
    if (found)
      json_object_set_new(entry, "empty_layer", json_true());
    found = TRUE;
  }
  if (!found)
    json_array_append_new(history, json_pack("{s:s}", "created_by", "nixstore"));
}

char *
oci_config_collapse(const char *config, gsize size, const char *diff_id, GError **error)
{
  g_autoptr(json_t) object = json_parse(config, size, error);
  if (object && !json_is_object(object))
    util_error(error, NIXSTORE_ERROR_INVALID, "not a JSON object");
  if (!json_is_object(object)) {
    g_prefix_error(error, "image config: ");
    return NULL;
  }
  json_object_set_new(object, "rootfs",
                      json_pack("{s:s, s:[s]}", "type", "layers", "diff_ids", diff_id));
  json_t *history = json_object_get(object, "history");
  if (json_is_array(history) && json_array_size(history) > 0)
    collapse_history(history);
  return dump(object);
}

static json_t *
describe(const OciBlob *blob)
{
  return json_pack("{s:s, s:s, s:I}", "mediaType", blob->media_type, "digest", blob->digest, "size",
                   (json_int_t)blob->size);
}

char *
oci_manifest(const OciBlob *config, const OciBlob *layer, const Reference *reference)
{
  g_autoptr(json_t) manifest =
      json_pack("{s:i, s:s, s:o, s:[o]}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE, "config",
                describe(config), "layers", describe(layer));
  if (reference) {
    g_autofree char *version = g_strdup_printf("%d", REFERENCE_VERSION);
    json_object_set_new(manifest, "annotations",
                        json_pack("{s:s, s:s, s:s, s:s}", "nixstore.version", version,
                                  "nixstore.storePath", reference->store_path, "nixstore.narHash",
                                  reference->nar_hash, "nixstore.manifestDigest",
                                  reference->manifest_digest));
  }
  return dump(manifest);
}

char *
oci_index(const char *manifest, const char *name)
{
  OciBlob blob;
  oci_blob_describe(&blob, MANIFEST_TYPE, manifest, strlen(manifest));
  json_t *descriptor = describe(&blob);
  g_free(blob.digest);
  if (name)
    json_object_set_new(descriptor, "annotations",
                        json_pack("{s:s}", "org.opencontainers.image.ref.name", name));
  g_autoptr(json_t) index = json_pack("{s:i, s:s, s:[o]}", "schemaVersion", 2, "mediaType",
                                      INDEX_TYPE, "manifests", descriptor);
  return dump(index);
}

char *
oci_docker_manifest(const char *config_file, const char *layer_file, const char *name)
{
  g_autoptr(json_t) manifest = json_pack("[{s:s, s:[s], s:[s]}]", "Config", config_file, "RepoTags",
                                         name, "Layers", layer_file);
  return dump(manifest);
}

gboolean
oci_config_is_docker(const char *config, gsize size)
{
  g_autoptr(json_t) object = json_parse(config, size, NULL);
  json_t *healthcheck = json_object_get(json_object_get(object, "config"), "Healthcheck");
  return json_object_size(healthcheck) > 0;
}
