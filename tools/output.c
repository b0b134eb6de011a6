/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "output.h"
#include "store.h"
#include "util.h"

#include <stdio.h>

#define LABEL_WIDTH 16

void
output_json(json_t *value)
{
  json_dumpf(value, stdout, JSON_INDENT(2));
  putchar('\n');
}

void
output_field(const char *label, const char *value)
{
  if (!value || !*value)
    return;
  g_autofree char *text = util_escape(value);
  g_autofree char *head = g_strconcat(label, *label ? ":" : "", NULL);
  printf("%-*s%s\n", LABEL_WIDTH, head, text);
}

char *
output_size(guint64 size)
{
  /* GLib puts a no-break space between number and unit. */
  g_autofree char *text = g_format_size_full(size, G_FORMAT_SIZE_IEC_UNITS);
  g_auto(GStrv) parts = g_strsplit(text, "\302\240", -1);
  return g_strjoinv(" ", parts);
}

json_t *
output_json_text(const char *text)
{
  g_autofree char *escaped = g_utf8_validate(text, -1, NULL) ? NULL : util_escape(text);
  return json_string(escaped ? escaped : text);
}

json_t *
output_path_json(const char *store_path, const char *image_id)
{
  json_t *object = json_object();
  json_object_set_new(object, "storePath", output_json_text(store_path));
  json_object_set_new(object, "name", output_json_text(store_path_name(store_path)));
  json_object_set_new(object, "imageId", image_id ? output_json_text(image_id) : json_null());
  return object;
}

void
output_add_podman_image(json_t *object, const char *name, const char *id)
{
  json_object_set_new(object, "image", output_json_text(name));
  json_object_set_new(object, "id", output_json_text(id));
}
