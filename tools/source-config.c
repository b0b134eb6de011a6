/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "source-json.h"
#include "source-manifest.h"
#include "util.h"

#include <string.h>

static gboolean
set_diff_ids(Source *source, json_t *config, GError **error)
{
  json_t *rootfs = json_object_get(config, "rootfs");
  json_t *diff_ids = json_object_get(rootfs, "diff_ids"), *diff_id;
  const char *type = json_get_string(rootfs, "type");
  gsize i;

  if (type != NULL && strcmp(type, "layers") != 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "its rootfs is not of the type `layers'");
  /* Go writes an empty list as null. */
  if (json_array_size(diff_ids) != source->layers->len)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "it names %" G_GSIZE_FORMAT " layers, the manifest %u",
                      json_array_size(diff_ids), source->layers->len);
  json_array_foreach(diff_ids, i, diff_id)
  {
    Blob *blob = g_ptr_array_index(source->layers, i);
    const char *text = json_plain_string(diff_id);

    if (text == NULL || !util_digest_is_valid(text))
      return util_error(error, NIXSTORE_ERROR_INVALID,
                        "its diff ID %" G_GSIZE_FORMAT " is not sha256:<hexadecimal>", i + 1);
    blob->diff_id = g_strdup(text);
  }
  return TRUE;
}

static gboolean
check_platform(json_t *config, const SourceOptions *options, GError **error)
{
  const char *os = json_get_string(config, "os");
  const char *architecture = json_get_string(config, "architecture");

  if (!options->check_platform || (g_strcmp0(os, options->platform->os) == 0 &&
                                   g_strcmp0(architecture, options->platform->architecture) == 0))
    return TRUE;
  return util_error(error, NIXSTORE_ERROR_NOT_FOUND, "it is for %s/%s, not %s/%s",
                    os != NULL ? os : "?", architecture != NULL ? architecture : "?",
                    options->platform->os, options->platform->architecture);
}

gboolean
source_check_config(Source *source, const SourceOptions *options, GError **error)
{
  json_t *config = json_parse(source->config, source->config_size, error);
  gboolean ok;

  if (config == NULL) {
    g_prefix_error(error, "the config: ");
    return FALSE;
  }
  ok = set_diff_ids(source, config, error) && check_platform(config, options, error);
  if (!ok)
    g_prefix_error(error, "the config: ");
  json_decref(config);
  return ok;
}
