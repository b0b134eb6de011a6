/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The small pieces of image manifests: descriptors (OCI image specification, descriptor.md) and
 * tags. Private to the sources. Stands on json-text, blob, util.
 */
#pragma once

#include <glib.h>

#include "json-text.h"

typedef struct {
  const char *media_type; /* the JSON's */
  const char *digest;     /* the JSON's: "sha256:<hex>" */
  guint64 size;
} Descriptor;

/* INVALID for anything that is no descriptor, or with a digest other than SHA-256. */
gboolean descriptor_parse(json_t *json, Descriptor *ret_descriptor, GError **error);

/* Whether docker save's @tag ("nginx:1.27", or NULL) is what @reference
 * ("docker.io/library/nginx:1.27", "nginx:1.27", "nginx") names. */
gboolean docker_tag_matches(const char *tag, const char *reference);
