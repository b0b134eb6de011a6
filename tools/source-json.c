/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "source-json.h"
#include "blob.h"
#include "util.h"

#include <string.h>

gboolean
descriptor_parse(json_t *json, Descriptor *ret_descriptor, GError **error)
{
  const char *digest = json_get_string(json, "digest");
  const char *media_type = json_get_string(json, "mediaType");
  json_t *size = json_object_get(json, "size");

  if (digest == NULL || media_type == NULL || !json_is_integer(size) ||
      json_integer_value(size) < 0)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "a descriptor without media type, digest or size");
  if (!util_digest_is_valid(digest))
    return util_error(error, NIXSTORE_ERROR_INVALID, "the digest `%s' is not sha256:<hexadecimal>",
                      digest);
  ret_descriptor->media_type = media_type;
  ret_descriptor->digest = digest;
  ret_descriptor->size = (guint64)json_integer_value(size);
  return TRUE;
}

/* Puts what Docker leaves out back: "nginx" is docker.io/library/nginx:latest. */
static char *
normalise_tag(const char *tag)
{
  const char *slash = strchr(tag, '/');
  gsize host = slash != NULL ? (gsize)(slash - tag) : 0;
  gboolean has_host =
      slash != NULL && (memchr(tag, '.', host) != NULL || memchr(tag, ':', host) != NULL ||
                        strncmp(tag, "localhost/", 10) == 0);
  const char *last = strrchr(tag, '/') != NULL ? strrchr(tag, '/') : tag;

  return g_strconcat(has_host ? "" : "docker.io/", slash == NULL ? "library/" : "", tag,
                     strchr(last, ':') == NULL ? ":latest" : NULL, NULL);
}

gboolean
docker_tag_matches(const char *tag, const char *reference)
{
  g_autofree char *left = NULL, *right = NULL;

  if (tag == NULL)
    return FALSE;
  left = normalise_tag(tag);
  right = normalise_tag(reference);
  return strcmp(left, right) == 0;
}
