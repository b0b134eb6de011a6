/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-pax.h"
#include "tree.h"
#include "util.h"

#include <string.h>

#define XATTR_PREFIX "SCHILY.xattr."
#define SPARSE_PREFIX "GNU.sparse."
/* Of one entry; no file system takes as many. */
#define XATTRS_MAX 1000

/* A record's value: not NUL-terminated, and may hold NULs. */
typedef struct {
  const char *data;
  gsize size;
} Value;

static void
xattr_clear(gpointer data)
{
  TreeXattr *xattr = data;

  g_free(xattr->name);
  g_free(xattr->value);
}

GArray *
tar_xattrs_new(void)
{
  GArray *xattrs = g_array_new(FALSE, FALSE, sizeof(TreeXattr));

  g_array_set_clear_func(xattrs, xattr_clear);
  return xattrs;
}

void
tar_pax_free(TarPax *pax)
{
  if (pax == NULL)
    return;
  g_free(pax->path);
  g_free(pax->link);
  g_free(pax->sparse_name);
  g_array_unref(pax->xattrs);
  g_array_unref(pax->sparse_map);
  g_free(pax);
}

gboolean
tar_parse_decimal(const char *text, gsize size, gint64 *ret_value)
{
  gboolean negative = size > 0 && text[0] == '-';
  guint64 value = 0;
  gsize i = negative || (size > 0 && text[0] == '+') ? 1 : 0;

  if (i == size)
    return FALSE;
  for (; i < size; i++) {
    guint digit = (guint)(guchar)text[i] - '0';

    if (digit > 9 || value > ((guint64)G_MAXINT64 - digit) / 10)
      return FALSE;
    value = value * 10 + digit;
  }
  *ret_value = negative ? -(gint64)value : (gint64)value;
  return TRUE;
}

/* "1350244992.023960108": digits beyond the ninth are cut off; a minus holds for both parts. */
static gboolean
parse_time(Value value, gint64 *ret_seconds, guint32 *ret_nsec)
{
  const char *dot = memchr(value.data, '.', value.size);
  gsize whole = dot != NULL ? (gsize)(dot - value.data) : value.size;
  guint32 nsec = 0, scale = 100000000;
  gint64 seconds;

  if (!tar_parse_decimal(value.data, whole, &seconds))
    return FALSE;
  for (gsize i = whole + 1; i < value.size; i++) {
    if (!g_ascii_isdigit(value.data[i]))
      return FALSE;
    nsec += scale * (guint32)(value.data[i] - '0');
    scale /= 10;
  }
  if (value.data[0] == '-' && nsec > 0) {
    if (seconds == G_MININT64)
      return FALSE;
    seconds--;
    nsec = 1000000000 - nsec;
  }
  *ret_seconds = seconds;
  *ret_nsec = nsec;
  return TRUE;
}

/* Later records replace earlier ones, and an empty one takes them back. */
static gboolean
set_string(char **field, Value value)
{
  if (memchr(value.data, '\0', value.size) != NULL)
    return FALSE;
  g_free(*field);
  *field = value.size > 0 ? g_strndup(value.data, value.size) : NULL;
  return TRUE;
}

static gboolean
set_number(gint64 *field, gboolean *has, Value value)
{
  *has = value.size > 0;
  return value.size == 0 || tar_parse_decimal(value.data, value.size, field);
}

static gboolean
set_version(int *field, Value value)
{
  *field = value.size == 1 && g_ascii_isdigit(*value.data) ? *value.data - '0' : -1;
  return TRUE;
}

static gboolean
set_xattr(TarPax *pax, const char *name, gsize name_size, Value value)
{
  TreeXattr xattr;

  if (name_size == 0)
    return FALSE;
  for (guint i = 0; i < pax->xattrs->len; i++) {
    const char *other = g_array_index(pax->xattrs, TreeXattr, i).name;
    if (strlen(other) == name_size && memcmp(other, name, name_size) == 0) {
      g_array_remove_index_fast(pax->xattrs, i);
      break;
    }
  }
  if (value.size == 0)
    return TRUE;
  if (pax->xattrs->len >= XATTRS_MAX)
    return FALSE;
  xattr.name = g_strndup(name, name_size);
  xattr.value = g_malloc(value.size + 1);
  memcpy(xattr.value, value.data, value.size);
  xattr.value[value.size] = '\0';
  xattr.size = value.size;
  g_array_append_val(pax->xattrs, xattr);
  return TRUE;
}

/* Format 0.1: "offset,length,offset,length". */
static gboolean
set_sparse_map(TarPax *pax, Value value)
{
  const char *position = value.data, *end = value.data + value.size;

  g_array_set_size(pax->sparse_map, 0);
  while (position < end) {
    const char *comma = memchr(position, ',', (gsize)(end - position));
    gsize size = (gsize)((comma != NULL ? comma : end) - position);
    gint64 number;

    if (!tar_parse_decimal(position, size, &number))
      return FALSE;
    g_array_append_val(pax->sparse_map, number);
    if (comma == NULL)
      break;
    position = comma + 1;
  }
  return TRUE;
}

/* Format 0.0: a record for each number, offsets and lengths in turn. */
static gboolean
add_sparse_number(TarPax *pax, gboolean is_length, Value value)
{
  gint64 number;

  if ((pax->sparse_map->len % 2 == 1) != is_length ||
      !tar_parse_decimal(value.data, value.size, &number))
    return FALSE;
  g_array_append_val(pax->sparse_map, number);
  return TRUE;
}

static gboolean
key_is(Value key, const char *name)
{
  return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static gboolean
add_sparse_record(TarPax *pax, Value key, Value value)
{
  if (key_is(key, SPARSE_PREFIX "major"))
    return set_version(&pax->sparse_major, value);
  if (key_is(key, SPARSE_PREFIX "minor"))
    return set_version(&pax->sparse_minor, value);
  if (key_is(key, SPARSE_PREFIX "name"))
    return set_string(&pax->sparse_name, value);
  if (key_is(key, SPARSE_PREFIX "realsize") || key_is(key, SPARSE_PREFIX "size"))
    return set_number(&pax->sparse_size, &pax->has_sparse_size, value);
  if (key_is(key, SPARSE_PREFIX "numblocks"))
    return set_number(&pax->sparse_count, &pax->has_sparse_count, value);
  if (key_is(key, SPARSE_PREFIX "map"))
    return set_sparse_map(pax, value);
  if (key_is(key, SPARSE_PREFIX "offset"))
    return add_sparse_number(pax, FALSE, value);
  if (key_is(key, SPARSE_PREFIX "numbytes"))
    return add_sparse_number(pax, TRUE, value);
  return TRUE;
}

static gboolean
add_record(TarPax *pax, Value key, Value value)
{
  const gsize xattr_prefix = strlen(XATTR_PREFIX), sparse_prefix = strlen(SPARSE_PREFIX);

  if (key.size == 0 || memchr(key.data, '\0', key.size) != NULL)
    return FALSE;
  if (key_is(key, "path"))
    return set_string(&pax->path, value);
  if (key_is(key, "linkpath"))
    return set_string(&pax->link, value);
  if (key_is(key, "size"))
    return set_number(&pax->size, &pax->has_size, value);
  if (key_is(key, "uid"))
    return set_number(&pax->uid, &pax->has_uid, value);
  if (key_is(key, "gid"))
    return set_number(&pax->gid, &pax->has_gid, value);
  if (key_is(key, "mtime")) {
    pax->has_mtime = value.size > 0;
    return value.size == 0 || parse_time(value, &pax->mtime, &pax->mtime_nsec);
  }
  if (key.size > xattr_prefix && memcmp(key.data, XATTR_PREFIX, xattr_prefix) == 0)
    return set_xattr(pax, key.data + xattr_prefix, key.size - xattr_prefix, value);
  if (key.size > sparse_prefix && memcmp(key.data, SPARSE_PREFIX, sparse_prefix) == 0)
    return add_sparse_record(pax, key, value);
  return TRUE;
}

/* "SIZE KEY=VALUE\n", SIZE counting all of it. Moves *@position behind the record. */
static gboolean
next_record(const char **position, const char *end, Value *ret_key, Value *ret_value)
{
  const char *start = *position;
  const char *space = memchr(start, ' ', (gsize)(end - start));
  const char *equals, *last;
  gint64 size;

  if (space == NULL || !tar_parse_decimal(start, (gsize)(space - start), &size) ||
      size > end - start || size <= space - start + 2)
    return FALSE;
  last = start + size - 1;
  equals = memchr(space + 1, '=', (gsize)(last - space - 1));
  if (*last != '\n' || equals == NULL)
    return FALSE;
  ret_key->data = space + 1;
  ret_key->size = (gsize)(equals - ret_key->data);
  ret_value->data = equals + 1;
  ret_value->size = (gsize)(last - ret_value->data);
  *position = last + 1;
  return TRUE;
}

TarPax *
tar_pax_parse(const char *body, gsize size, GError **error)
{
  g_autoptr(TarPax) pax = g_new0(TarPax, 1);
  const char *position = body, *end = body + size;

  pax->xattrs = tar_xattrs_new();
  pax->sparse_map = g_array_new(FALSE, FALSE, sizeof(gint64));
  pax->sparse_major = pax->sparse_minor = -1;
  while (position < end) {
    Value key, value;

    if (!next_record(&position, end, &key, &value) || !add_record(pax, key, value)) {
      util_error(error, NIXSTORE_ERROR_INVALID, "a malformed record in a pax header");
      return NULL;
    }
  }
  return g_steal_pointer(&pax);
}
