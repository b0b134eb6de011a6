/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The small pieces of image manifests: JSON, descriptors (OCI image specification, descriptor.md),
 * tags. Private to the sources. Stands on jansson, blob, util.
 */
#pragma once

#include <glib.h>
#include <jansson.h>

typedef struct {
  const char *media_type; /* the JSON's */
  const char *digest;     /* the JSON's: "sha256:<hex>" */
  guint64 size;
} Descriptor;

/* Parses @text, which must be one JSON object or array. INVALID. */
json_t *json_parse(const char *text, gsize size, GError **error);

/* The string @name of @object, or NULL where there is none. The JSON's. */
const char *json_get_string(json_t *object, const char *name);

/* INVALID for anything that is no descriptor, or with a digest other than SHA-256. */
gboolean descriptor_parse(json_t *json, Descriptor *ret_descriptor, GError **error);

/* Whether docker save's @tag ("nginx:1.27", or NULL) is what @reference
 * ("docker.io/library/nginx:1.27", "nginx:1.27", "nginx") names. */
gboolean docker_tag_matches(const char *tag, const char *reference);
