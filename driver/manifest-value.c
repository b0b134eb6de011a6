/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest-value.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest-escape.h"
#include "util.h"

gboolean
manifest_token_is(ManifestToken token, const char *text)
{
  return token.size == strlen(text) && memcmp(token.data, text, token.size) == 0;
}

static gboolean
parse_number(ManifestToken token, guint base, guint64 max, guint64 *ret_value)
{
  guint64 value = 0;

  if (token.size == 0 || token.size > 20)
    return FALSE;
  for (gsize i = 0; i < token.size; i++) {
    guint digit = (guint)(guchar)token.data[i] - '0';

    if (digit >= base || value > (max - digit) / base)
      return FALSE;
    value = value * base + digit;
  }
  *ret_value = value;
  return TRUE;
}

gboolean
manifest_parse_number(ManifestToken token, guint base, guint64 max, guint32 *ret_value)
{
  guint64 value;

  if (!parse_number(token, base, max, &value))
    return FALSE;
  *ret_value = (guint32)value;
  return TRUE;
}

gboolean
manifest_parse_type(ManifestToken token, guint32 *ret_type)
{
  static const struct {
    const char *name;
    guint32 type;
  } types[] = {{"file", S_IFREG},  {"dir", S_IFDIR},  {"link", S_IFLNK},   {"char", S_IFCHR},
               {"block", S_IFBLK}, {"fifo", S_IFIFO}, {"socket", S_IFSOCK}};

  for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
    if (manifest_token_is(token, types[i].name)) {
      *ret_type = types[i].type;
      return TRUE;
    }
  return FALSE;
}

gboolean
manifest_parse_time(ManifestToken token, gint64 *ret_seconds, guint32 *ret_nsec)
{
  gboolean negative = token.size > 0 && token.data[0] == '-';
  const char *dot = memchr(token.data, '.', token.size);
  ManifestToken seconds, fraction;
  guint64 value;

  if (dot == NULL)
    return FALSE;
  seconds.data = token.data + negative;
  seconds.size = (gsize)(dot - seconds.data);
  fraction.data = dot + 1;
  fraction.size = token.size - (gsize)(fraction.data - token.data);
  if (fraction.size != 9 || !parse_number(seconds, 10, G_MAXINT64, &value) ||
      !manifest_parse_number(fraction, 10, 999999999, ret_nsec))
    return FALSE;
  *ret_seconds = negative ? -(gint64)value : (gint64)value;
  return TRUE;
}

gboolean
manifest_parse_device(ManifestToken token, guint32 *ret_major, guint32 *ret_minor)
{
  static const char prefix[] = "native,";
  const char *comma;
  ManifestToken major, minor;

  if (token.size < sizeof prefix || memcmp(token.data, prefix, sizeof prefix - 1) != 0)
    return FALSE;
  major.data = token.data + sizeof prefix - 1;
  major.size = token.size - (sizeof prefix - 1);
  comma = memchr(major.data, ',', major.size);
  if (comma == NULL)
    return FALSE;
  minor.data = comma + 1;
  minor.size = major.size - (gsize)(minor.data - major.data);
  major.size = (gsize)(comma - major.data);
  return manifest_parse_number(major, 10, 0xfff, ret_major) &&
         manifest_parse_number(minor, 10, 0xfffff, ret_minor);
}

static int
base64_digit(char c)
{
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* glib's decoder skips what it does not know, and so is no use here. */
guint8 *
manifest_decode_base64(ManifestToken token, gsize *ret_size)
{
  g_autofree guint8 *out = g_malloc(token.size / 4 * 3 + 1);
  gsize padding = 0, size = 0;
  guint32 bits = 0;

  if (token.size % 4 != 0)
    return NULL;
  while (padding < 2 && padding < token.size && token.data[token.size - 1 - padding] == '=')
    padding++;
  for (gsize i = 0; i < token.size; i++) {
    gboolean is_padding = i >= token.size - padding;
    int digit = is_padding ? 0 : base64_digit(token.data[i]);

    if (digit < 0)
      return NULL;
    bits = bits << 6 | (guint32)digit;
    if (i % 4 == 3) {
      out[size++] = (guint8)(bits >> 16);
      out[size++] = (guint8)(bits >> 8);
      out[size++] = (guint8)bits;
    }
  }
  for (gsize i = 0; i < padding; i++)
    if (out[--size] != 0)
      return NULL;
  out[size] = '\0';
  *ret_size = size;
  return g_steal_pointer(&out);
}

gboolean
manifest_parse_path(ManifestToken token, char *path, gsize *ret_size, GError **error)
{
  gssize size = 0;
  gsize start = 0;

  if (token.size == 1 && token.data[0] == '.') {
    path[0] = '\0';
    *ret_size = 0;
    return TRUE;
  }
  if (token.size < 3 || token.data[0] != '.' || token.data[1] != '/')
    return util_error(error, NIXSTORE_ERROR_INVALID, "a path that does not start with \"./\"");
  if (token.size - 2 < (gsize)4 * PATH_MAX) {
    g_autofree char *buffer = g_malloc(token.size);

    size = manifest_unescape(token.data + 2, token.size - 2, buffer);
    if (size > 0 && size < PATH_MAX)
      memcpy(path, buffer, (gsize)size);
  }
  if (size <= 0 || size >= PATH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a malformed or overlong path");
  path[size] = '\0';
  for (gsize i = 0; i <= (gsize)size; i++)
    if (path[i] == '/' || path[i] == '\0') {
      gsize length = i - start;
      const char *name = path + start;

      if (length == 0 || length > NAME_MAX || (length == 1 && name[0] == '.') ||
          (length == 2 && name[0] == '.' && name[1] == '.'))
        return util_error(error, NIXSTORE_ERROR_INVALID, "a path with a component that is no name");
      start = i + 1;
    }
  *ret_size = (gsize)size;
  return TRUE;
}
