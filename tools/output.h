/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Writing results to standard output: for people, and for programs (--json).
 */
#pragma once

#include <glib.h>
#include <jansson.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/* Prints @value, indented, members in the order in which they were added. */
void output_json(json_t *value);

/* Prints "Label:  value", the value escaped for a line; nothing for a NULL or empty one. */
void output_field(const char *label, const char *value);

/* Bytes as people say them: "4.2 MiB". Caller frees. */
char *output_size(guint64 size);

/* A JSON string of @text, which may hold any bytes: what is no UTF-8 is escaped as in
 * util_escape(). */
json_t *output_json_text(const char *text);

/* An object with what all commands call alike of an image path: storePath, its name part, and the
 * image's ID (imageId; @image_id NULL: not known, null). */
json_t *output_path_json(const char *store_path, const char *image_id);

/* Adds what they call alike of the image of Podman's that stands for it: its name (image) and
 * Podman's ID (id). */
void output_add_podman_image(json_t *object, const char *name, const char *id);
