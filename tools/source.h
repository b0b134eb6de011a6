/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where an image comes from, named as skopeo names it (containers-transports(5)): docker-archive:,
 * oci:, oci-archive: and dir: are read in place; docker:// and containers-storage: are copied into
 * a temporary directory by skopeo first. Digests of manifests and configs are verified here, those
 * of layers by the streams that read them. Stands on blob, scratch, util.
 */
#pragma once

#include "blob.h"

typedef struct {
  char *os, *architecture, *variant; /* variant may be NULL: any */
} SourcePlatform;

/* Parses "OS/ARCH" or "OS/ARCH/VARIANT"; with @text NULL it is this machine's. INVALID. */
SourcePlatform *source_platform_new(const char *text, GError **error);
void source_platform_free(SourcePlatform *platform);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SourcePlatform, source_platform_free)

typedef struct {
  const SourcePlatform *platform;
  gboolean check_platform; /* the user named it: an image of another one is refused */
  guint64 max_size;        /* what a compressed archive may decompress to; 0: anything */
  /* Told, from any thread, how much is through of what has to be copied first, a pipe's or a
   * compressed archive's; @total 0: it is not known. NULL. */
  void (*tick)(void *data, guint64 done, guint64 total);
  void *tick_data;
  /* Saves the image that a containers-storage: source names into @directory, and returns the
   * archive as a source. NULL: skopeo reads the storage that it takes for Podman's. */
  char *(*save)(const char *name, const char *directory, GError **error);
} SourceOptions;

typedef struct {
  char *
      reference; /* "docker.io/library/nginx:1.27", "latest", ...: what the source calls it; NULL */
  char *config;  /* bytes of the image config, NUL-terminated beyond their size */
  gsize config_size;
  char *config_digest; /* "sha256:<hex>": the image ID */
  GPtrArray *layers;   /* of Blob, lowest first, each with its diff ID */
  guint64 layers_size; /* bytes of the layers' blobs */
  void *private;
} Source;

/* Whether @spec begins with a transport that there is. Does not look for the source. INVALID. */
gboolean source_check_spec(const char *spec, GError **error);

/* Opens @spec. INVALID, NOT_FOUND. */
Source *source_open(const char *spec, const SourceOptions *options, GError **error);
void source_free(Source *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Source, source_free)

/* A name for the store made of source->reference ("nginx-1.27"), or "image", by what `podman load'
 * and `podman pull' would call it. Caller frees. */
char *source_make_name(const Source *source);
