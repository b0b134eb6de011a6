/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "source-manifest.h"
#include "source-json.h"
#include "util.h"

#include <string.h>

/* As containers/image has it for manifests; image.h reads configs of up to 16 MiB. */
#define MANIFEST_MAX (4 * 1024 * 1024)
#define CONFIG_MAX (4 * 1024 * 1024)
#define LAYERS_MAX 1000
#define INDEX_DEPTH_MAX 4

#define REF_NAME "org.opencontainers.image.ref.name"
#define CONTAINERD_NAME "io.containerd.image.name"

static const char *const index_types[] = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    NULL,
};
static const char *const manifest_types[] = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    NULL,
};
static const char *const config_types[] = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    NULL,
};
static const char *const layer_types[] = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    NULL,
};
/* Layers that registries do not hand out: theirs alone may be missing. */
static const char *const foreign_types[] = {
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    NULL,
};

/* What the functions below hand to one another. */
typedef struct {
  Source *source;
  SourceFiles *files;
  SourceLayout layout;
  const SourceOptions *options;
} Reading;

/* The blob that @descriptor names, its size compared and its digest set. */
static Blob *
find_blob(const Reading *reading, const Descriptor *descriptor, GError **error)
{
  const char *hex = descriptor->digest + strlen("sha256:");
  g_autofree char *name = reading->layout == SOURCE_LAYOUT_OCI
                              ? g_strconcat("blobs/sha256/", hex, NULL)
                              : g_strdup(hex);
  g_autoptr(Blob) blob = source_files_find(reading->files, name, error);

  if (blob == NULL)
    return NULL;
  if (blob->size != descriptor->size) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "%s has %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT, descriptor->digest,
               blob->size, descriptor->size);
    return NULL;
  }
  blob->digest = g_strdup(descriptor->digest);
  return g_steal_pointer(&blob);
}

static char *
read_blob(const Reading *reading, const Descriptor *descriptor, gsize max, gsize *ret_size,
          GError **error)
{
  g_autoptr(Blob) blob = find_blob(reading, descriptor, error);
  char *data;

  if (blob == NULL)
    return NULL;
  data = blob_read(blob, max, ret_size, error);
  if (data == NULL)
    g_prefix_error(error, "%s: ", descriptor->digest);
  return data;
}

static gboolean
read_config(const Reading *reading, json_t *manifest, GError **error)
{
  Source *source = reading->source;
  Descriptor descriptor;

  if (!descriptor_parse(json_object_get(manifest, "config"), &descriptor, error)) {
    g_prefix_error(error, "the manifest's config: ");
    return FALSE;
  }
  if (!g_strv_contains(config_types, descriptor.media_type))
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "its config is of media type `%s', which is no container image's",
                      descriptor.media_type);
  source->config = read_blob(reading, &descriptor, CONFIG_MAX, &source->config_size, error);
  if (source->config == NULL) {
    g_prefix_error(error, "the config: ");
    return FALSE;
  }
  source->config_digest = g_strdup(descriptor.digest);
  return TRUE;
}

static gboolean
add_layer(const Reading *reading, json_t *json, GError **error)
{
  Source *source = reading->source;
  Descriptor descriptor;
  gboolean foreign;
  Blob *blob;

  if (!descriptor_parse(json, &descriptor, error))
    return FALSE;
  foreign = g_strv_contains(foreign_types, descriptor.media_type);
  if (!foreign && !g_strv_contains(layer_types, descriptor.media_type))
    return util_error(error, NIXSTORE_ERROR_INVALID, "unknown media type `%s'",
                      descriptor.media_type);
  blob = find_blob(reading, &descriptor, error);
  if (blob == NULL) {
    if (foreign)
      g_prefix_error(error,
                     "a foreign layer (%s), which is not in the image: ", descriptor.media_type);
    return FALSE;
  }
  g_ptr_array_add(source->layers, blob);
  source->layers_size += blob->size;
  return TRUE;
}

static gboolean
read_manifest(const Reading *reading, json_t *manifest, GError **error)
{
  json_t *layers = json_object_get(manifest, "layers"), *layer;
  gsize i;

  if (!read_config(reading, manifest, error))
    return FALSE;
  if (!json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "the manifest has no list of layers, or more than %d", LAYERS_MAX);
  json_array_foreach(layers, i, layer) if (!add_layer(reading, layer, error))
  {
    g_prefix_error(error, "layer %" G_GSIZE_FORMAT ": ", i + 1);
    return FALSE;
  }
  return source_check_config(reading->source, reading->options, error);
}

typedef enum {
  PLATFORM_OTHER,
  PLATFORM_VARIANT, /* of a variant where none is asked for: may want more than this CPU has */
  PLATFORM_WANTED,
} PlatformMatch;

/* How far an index's entry is for @wanted. An entry without a platform is for anybody, one without
 * a variant for every CPU of its architecture. */
static PlatformMatch
platform_match(json_t *entry, const SourcePlatform *wanted)
{
  json_t *platform = json_object_get(entry, "platform");
  const char *variant = json_get_string(platform, "variant");

  if (!json_is_object(platform))
    return PLATFORM_WANTED;
  if (g_strcmp0(json_get_string(platform, "os"), wanted->os) != 0 ||
      g_strcmp0(json_get_string(platform, "architecture"), wanted->architecture) != 0)
    return PLATFORM_OTHER;
  if (variant == NULL || *variant == '\0' || g_strcmp0(variant, wanted->variant) == 0)
    return PLATFORM_WANTED;
  return wanted->variant == NULL ? PLATFORM_VARIANT : PLATFORM_OTHER;
}

static const char *
entry_reference(json_t *entry)
{
  json_t *annotations = json_object_get(entry, "annotations");
  const char *name = json_get_string(annotations, CONTAINERD_NAME);

  return name != NULL ? name : json_get_string(annotations, REF_NAME);
}

static gboolean
reference_matches(json_t *entry, const char *reference)
{
  json_t *annotations = json_object_get(entry, "annotations");

  return reference == NULL || g_strcmp0(json_get_string(annotations, REF_NAME), reference) == 0 ||
         g_strcmp0(json_get_string(annotations, CONTAINERD_NAME), reference) == 0;
}

static char *
platform_name(const SourcePlatform *platform)
{
  return g_strconcat(platform->os, "/", platform->architecture,
                     platform->variant != NULL ? "/" : NULL, platform->variant, NULL);
}

/* The entry of @index that is for the platform (and called @reference). Borrowed. */
static json_t *
choose_entry(json_t *index, const char *reference, const SourcePlatform *platform, GError **error)
{
  json_t *entries = json_object_get(index, "manifests"), *entry, *found = NULL;
  g_autofree char *wanted = platform_name(platform);
  PlatformMatch best = PLATFORM_OTHER;
  gsize i, named = 0;

  json_array_foreach(entries, i, entry)
  {
    if (!reference_matches(entry, reference))
      continue;
    named++;
    PlatformMatch match = platform_match(entry, platform);
    if (match == PLATFORM_OTHER)
      continue;
    /* Of two that are for the platform alike, an index means the first; but two names are two
     * images. */
    if (found != NULL && g_strcmp0(entry_reference(found), entry_reference(entry)) != 0) {
      util_error(error, NIXSTORE_ERROR_INVALID,
                 "it holds several images (`%s', `%s', ...): append :NAME to say which",
                 entry_reference(found) != NULL ? entry_reference(found) : "",
                 entry_reference(entry) != NULL ? entry_reference(entry) : "");
      return NULL;
    }
    if (match > best) {
      found = entry;
      best = match;
    }
  }
  if (found == NULL && reference != NULL && named == 0)
    util_error(error, NIXSTORE_ERROR_NOT_FOUND, "it has no image called `%s'", reference);
  else if (found == NULL)
    util_error(error, NIXSTORE_ERROR_NOT_FOUND, "it has no image for %s", wanted);
  return found;
}

static gboolean read_any(const Reading *reading, json_t *object, const char *media_type, int depth,
                         GError **error);

/* Goes on with the manifest or index that @entry of an index describes. */
static gboolean
follow_entry(const Reading *reading, json_t *entry, int depth, GError **error)
{
  g_autofree char *text = NULL;
  Descriptor descriptor;
  json_t *object;
  gboolean ok;
  gsize size;

  if (!descriptor_parse(entry, &descriptor, error))
    return FALSE;
  text = read_blob(reading, &descriptor, MANIFEST_MAX, &size, error);
  object = text != NULL ? json_parse(text, size, error) : NULL;
  if (object == NULL) {
    g_prefix_error(error, "the manifest: ");
    return FALSE;
  }
  ok = read_any(reading, object, descriptor.media_type, depth, error);
  json_decref(object);
  return ok;
}

/* Reads a manifest, or the manifest that an index leads to. @media_type: what its descriptor calls
 * it; NULL where there is none. */
static gboolean
read_any(const Reading *reading, json_t *object, const char *media_type, int depth, GError **error)
{
  const char *own = json_get_string(object, "mediaType");
  json_t *entry;

  if (own != NULL && media_type != NULL && strcmp(own, media_type) != 0)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "a manifest calls itself `%s' and is called `%s'", own, media_type);
  if (own != NULL)
    media_type = own;
  /* OCI makes the member optional. */
  if (media_type == NULL)
    media_type = json_is_array(json_object_get(object, "manifests")) ? index_types[0]
                 : json_is_array(json_object_get(object, "layers"))  ? manifest_types[0]
                                                                     : "";
  if (g_strv_contains(manifest_types, media_type))
    return read_manifest(reading, object, error);
  if (!g_strv_contains(index_types, media_type))
    return util_error(error, NIXSTORE_ERROR_INVALID, "a manifest of unknown media type `%s'",
                      media_type);
  if (depth >= INDEX_DEPTH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "indexes in indexes more than %d deep",
                      INDEX_DEPTH_MAX);
  entry = choose_entry(object, NULL, reading->options->platform, error);
  return entry != NULL && follow_entry(reading, entry, depth + 1, error);
}

static json_t *
read_json_file(SourceFiles *files, const char *name, GError **error)
{
  g_autofree char *text = NULL;
  json_t *json;
  gsize size;

  text = source_files_read(files, name, MANIFEST_MAX, &size, error);
  if (text == NULL)
    return NULL;
  json = json_parse(text, size, error);
  if (json == NULL)
    g_prefix_error(error, "%s: ", name);
  return json;
}

gboolean
source_read_oci(Source *source, SourceFiles *files, const char *reference,
                const SourceOptions *options, GError **error)
{
  Reading reading = {source, files, SOURCE_LAYOUT_OCI, options};
  json_t *index = read_json_file(files, "index.json", error), *entry;
  gboolean ok;

  if (index == NULL)
    return FALSE;
  entry = choose_entry(index, reference, options->platform, error);
  if (entry != NULL)
    source->reference = g_strdup(reference != NULL ? reference : entry_reference(entry));
  ok = entry != NULL && follow_entry(&reading, entry, 0, error);
  json_decref(index);
  return ok;
}

gboolean
source_read_dir(Source *source, SourceFiles *files, const SourceOptions *options, GError **error)
{
  Reading reading = {source, files, SOURCE_LAYOUT_DIR, options};
  json_t *manifest = read_json_file(files, "manifest.json", error);
  gboolean ok;

  if (manifest == NULL)
    return FALSE;
  ok = read_any(&reading, manifest, NULL, 0, error);
  json_decref(manifest);
  return ok;
}

/* The image of a docker archive's manifest.json that is tagged @reference, or its only one. */
static json_t *
choose_docker_image(json_t *images, const char *reference, GError **error)
{
  json_t *image, *tags, *tag;
  gsize i, j;

  if (!json_is_array(images) || json_array_size(images) == 0) {
    util_error(error, NIXSTORE_ERROR_INVALID, "manifest.json: it lists no image");
    return NULL;
  }
  if (reference == NULL) {
    if (json_array_size(images) == 1)
      return json_array_get(images, 0);
    util_error(error, NIXSTORE_ERROR_INVALID,
               "it holds several images: append :NAME:TAG to say which");
    return NULL;
  }
  json_array_foreach(images, i, image)
  {
    tags = json_object_get(image, "RepoTags");
    json_array_foreach(tags, j,
                       tag) if (docker_tag_matches(json_plain_string(tag), reference)) return image;
  }
  util_error(error, NIXSTORE_ERROR_NOT_FOUND, "it has no image called `%s'", reference);
  return NULL;
}

static gboolean
read_docker_config(Source *source, SourceFiles *files, json_t *image, GError **error)
{
  const char *name = json_get_string(image, "Config");
  g_autofree char *hex = NULL;

  if (name == NULL)
    return util_error(error, NIXSTORE_ERROR_INVALID, "manifest.json: it names no config");
  source->config = source_files_read(files, name, CONFIG_MAX, &source->config_size, error);
  if (source->config == NULL)
    return FALSE;
  hex = util_sha256_hex(source->config, source->config_size);
  source->config_digest = g_strconcat("sha256:", hex, NULL);
  /* "<hex>.json" or "blobs/sha256/<hex>": the name is the digest. */
  name = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
  if (strspn(name, "0123456789abcdef") == 64 && strncmp(name, hex, 64) != 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "the config %s has the digest %s", name,
                      source->config_digest);
  return TRUE;
}

static gboolean
read_docker_image(Source *source, SourceFiles *files, json_t *image, const SourceOptions *options,
                  GError **error)
{
  json_t *layers = json_object_get(image, "Layers"), *layer;
  gsize i;

  if (!json_is_array(layers) && !json_is_null(layers))
    return util_error(error, NIXSTORE_ERROR_INVALID, "manifest.json: it has no list of layers");
  if (json_array_size(layers) > LAYERS_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "more than %d layers", LAYERS_MAX);
  if (!read_docker_config(source, files, image, error))
    return FALSE;
  json_array_foreach(layers, i, layer)
  {
    Blob *blob;

    if (!json_is_string(layer))
      return util_error(error, NIXSTORE_ERROR_INVALID, "manifest.json: a layer without a name");
    blob = source_files_find(files, json_plain_string(layer), error);
    if (blob == NULL)
      return FALSE;
    g_ptr_array_add(source->layers, blob);
    source->layers_size += blob->size;
  }
  return source_check_config(source, options, error);
}

gboolean
source_read_docker_archive(Source *source, SourceFiles *files, const char *reference,
                           const SourceOptions *options, GError **error)
{
  json_t *images = read_json_file(files, "manifest.json", error), *image;
  gboolean ok;

  if (images == NULL)
    return FALSE;
  image = choose_docker_image(images, reference, error);
  if (image != NULL) {
    json_t *tags = json_object_get(image, "RepoTags");
    source->reference =
        g_strdup(reference != NULL ? reference : json_plain_string(json_array_get(tags, 0)));
  }
  ok = image != NULL && read_docker_image(source, files, image, options, error);
  json_decref(images);
  return ok;
}
