/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "json-text.h"
#include "util.h"

#include <string.h>

#define ESCAPE_SIZE 6 /* "\uXXXX" */
#define REPLACEMENT "\\ufffd"

/* The code unit of the escape that @text starts with, or -1. */
static int
read_escape(const char *text, const char *end)
{
  int unit = 0;

  if (end - text < ESCAPE_SIZE || text[0] != '\\' || text[1] != 'u')
    return -1;
  for (guint i = 2; i < ESCAPE_SIZE; i++) {
    int digit = g_ascii_xdigit_value(text[i]);
    if (digit < 0)
      return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

static gboolean
is_surrogate(int unit, int first)
{
  return unit >= first && unit < first + 0x400;
}

/* @text with U+FFFD for what is no character. Caller frees. */
static char *
replace_invalid(const char *text, gsize size)
{
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)size);
  const char *end = valid + strlen(valid);
  GString *out = g_string_sized_new(size);

  for (const char *c = valid; c < end;) {
    int unit = read_escape(c, end);
    gsize length = unit >= 0 ? ESCAPE_SIZE : *c == '\\' && c + 1 < end ? 2 : 1;
    gboolean pair =
        is_surrogate(unit, 0xd800) && is_surrogate(read_escape(c + ESCAPE_SIZE, end), 0xdc00);
    if (pair)
      length = 2 * ESCAPE_SIZE;
    if (!pair && (is_surrogate(unit, 0xd800) || is_surrogate(unit, 0xdc00)))
      g_string_append(out, REPLACEMENT);
    else
      g_string_append_len(out, c, (gssize)length);
    c += length;
  }
  return g_string_free(out, FALSE);
}

json_t *
json_parse(const char *text, gsize size, GError **error)
{
  json_error_t problem;
  json_t *json = json_loadb(text, size, JSON_ALLOW_NUL, &problem);

  if (!json && !memchr(text, '\0', size)) {
    g_autofree char *valid = replace_invalid(text, size);
    json = json_loads(valid, JSON_ALLOW_NUL, &problem);
  }
  if (!json)
    util_error(error, NIXSTORE_ERROR_INVALID, "malformed JSON, line %d: %s", problem.line,
               problem.text);
  return json;
}

const char *
json_plain_string(const json_t *value)
{
  const char *text = json_string_value(value);

  return text && strlen(text) == json_string_length(value) ? text : NULL;
}

const char *
json_get_string(const json_t *object, const char *name)
{
  return json_plain_string(json_object_get(object, name));
}
