/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The JSON of an image. The input's first byte says which document it is; the others are made to
 * fit it, digests and sizes too, or no mutation would get past those.
 */
#include "config.h"

#include "fuzz.h"
#include "source.h"
#include "tar-fixture.h"
#include "util.h"

#include <string.h>
#include <sys/mman.h>

#define OCI "application/vnd.oci.image."
#define CONFIG                                                                                     \
  "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":["    \
  "\"sha256:84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652\"]},"                 \
  "\"history\":[{\"created_by\":\"x\"},{\"empty_layer\":true}]}"
/* Of the blob that consists of an 'x'; the harness puts the config's digest and size in. */
#define LAYER                                                                                      \
  "{\"mediaType\":\"" OCI "layer.v1.tar\",\"size\":1,\"digest\":"                                  \
  "\"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"}"
#define DESCRIPTOR(type)                                                                           \
  "{\"mediaType\":\"" OCI type "+json\",\"digest\":\"@DIGEST@\",\"size\":@SIZE@}"
#define MANIFEST                                                                                   \
  "{\"schemaVersion\":2,\"mediaType\":\"" OCI                                                      \
  "manifest.v1+json\",\"config\":" DESCRIPTOR("config.v1") ",\"layers\":[" LAYER "]}"
#define INDEX "{\"schemaVersion\":2,\"manifests\":[" DESCRIPTOR("manifest.v1") "]}"

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("c" CONFIG),
    FUZZ_SEED("m" MANIFEST),
    FUZZ_SEED("i" INDEX),
    FUZZ_SEED("i{\"manifests\":[{\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
              "\"variant\":\"v7\"},\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"},"
              "\"mediaType\":\"" OCI "index.v1+json\",\"digest\":\"@DIGEST@\",\"size\":@SIZE@}]}"),
    FUZZ_SEED("d[{\"Config\":\"config.json\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"layer.tar\"]}]"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

/* @text with the digest and size of @blob put in for @DIGEST@ and @SIZE@. */
static char *
describe(const char *text, const char *blob)
{
  g_autofree char *hex = util_sha256_hex(blob, strlen(blob));
  g_autofree char *size = g_strdup_printf("%zu", strlen(blob));
  g_autofree char *digest = g_strconcat("sha256:", hex, NULL);
  GString *out = g_string_new(text);

  g_string_replace(out, "@DIGEST@", digest, 0);
  g_string_replace(out, "@SIZE@", size, 0);
  return g_string_free(out, FALSE);
}

static void
add_file(GByteArray *tar, const char *name, const char *content)
{
  TarFixture entry = {.path = name, .data = content};

  tar_fixture_add(tar, &entry);
}

static void
add_blob(GByteArray *tar, const char *content)
{
  g_autofree char *hex = util_sha256_hex(content, strlen(content));
  g_autofree char *name = g_strconcat("blobs/sha256/", hex, NULL);

  add_file(tar, name, content);
}

static GByteArray *
make_archive(char which, const char *text)
{
  GByteArray *tar = g_byte_array_new();
  const char *config = which == 'c' ? text : CONFIG;
  g_autofree char *manifest = describe(which == 'm' ? text : MANIFEST, config);
  g_autofree char *index = describe(which == 'i' ? text : INDEX, manifest);

  add_blob(tar, "x");
  add_blob(tar, config);
  add_blob(tar, manifest);
  add_file(tar, "index.json", index);
  add_file(tar, "config.json", CONFIG);
  add_file(tar, "layer.tar", "x");
  add_file(tar, "manifest.json", which == 'd' ? text : "[]");
  tar_fixture_end(tar);
  return tar;
}

/* What is accepted has a config and a diff ID for each layer. */
static void
check_source(const Source *source)
{
  g_autofree char *name = source_make_name(source);

  g_assert(source->config != NULL && source->config_digest != NULL && *name != '\0');
  for (guint i = 0; i < source->layers->len; i++) {
    const Blob *blob = g_ptr_array_index(source->layers, i);
    g_assert(blob->diff_id != NULL && util_digest_is_valid(blob->diff_id));
  }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static SourcePlatform *platform;
  g_autofree char *text =
      g_strndup(size > 0 ? (const char *)data + 1 : "", size > 0 ? size - 1 : 0);
  char which = size > 0 ? (char)data[0] : 'i';
  g_autoptr(GByteArray) tar = make_archive(which, text);
  autofd int fd = memfd_create("fuzz", MFD_CLOEXEC);
  g_autofree char *spec =
      g_strdup_printf("%s:/proc/self/fd/%d", which == 'd' ? "docker-archive" : "oci-archive", fd);
  g_autoptr(GError) error = NULL;

  if (platform == NULL)
    platform = source_platform_new("linux/amd64", NULL);
  g_assert(fd >= 0 && util_write_all(fd, tar->data, tar->len));
  SourceOptions options = {platform, FALSE, 1024 * 1024};
  g_autoptr(Source) source = source_open(spec, &options, &error);
  g_assert((source == NULL) == (error != NULL));
  if (source != NULL)
    check_source(source);
  return 0;
}
