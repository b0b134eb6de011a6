/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * JSON as Go's encoding/json reads it, by which Podman goes. Stands on jansson and util.
 */
#pragma once

#include <glib.h>
#include <jansson.h>

/* Parses @text, which must be one JSON object or array. As in Go, an escape that is half of a
 * surrogate pair, and bytes that are no UTF-8, stand for U+FFFD, and strings may hold "\u0000" (but
 * not an object's names, unlike in Go). INVALID. */
json_t *json_parse(const char *text, gsize size, GError **error);

/* @value's string; NULL where it is none, or holds a NUL. The JSON's. */
const char *json_plain_string(const json_t *value);

/* The same of @object's member @name. */
const char *json_get_string(const json_t *object, const char *name);
