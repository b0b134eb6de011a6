/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-header.h"
#include "util.h"

#include <string.h>

/* Where the fields are. */
enum {
  NAME = 0,
  NAME_SIZE = 100,
  MODE = 100,
  UID = 108,
  GID = 116,
  ID_SIZE = 8,
  SIZE = 124,
  MTIME = 136,
  LONG_SIZE = 12,
  CHECKSUM = 148,
  CHECKSUM_SIZE = 8,
  TYPE = 156,
  LINK = 157,
  LINK_SIZE = 100,
  MAGIC = 257,
  MAJOR = 329,
  MINOR = 337,
  PREFIX = 345,
  PREFIX_SIZE = 155,
  STAR_PREFIX_SIZE = 131,
  STAR_TRAILER = 508,
  GNU_ATIME = 345,
  GNU_CTIME = 357,
  GNU_SPARSE = 386,
  GNU_EXTENDED = 482,
  GNU_REAL_SIZE = 483,
  BLOCK_EXTENDED = 504,
};

gboolean
tar_block_is_zero(const guint8 *block)
{
  return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK_SIZE - 1) == 0;
}

/* Big-endian two's complement, whose first bit only says that it is that. */
static gboolean
parse_base256(const guint8 *field, gsize size, gint64 *ret_value)
{
  guint8 invert = (field[0] & 0x40) != 0 ? 0xff : 0;
  guint64 value = 0;

  for (gsize i = 0; i < size; i++) {
    guint8 byte = field[i] ^ invert;

    if (i == 0)
      byte &= 0x7f;
    if (value >> 56 != 0)
      return FALSE;
    value = value << 8 | byte;
  }
  if (value >> 63 != 0)
    return FALSE;
  *ret_value = invert ? ~(gint64)value : (gint64)value;
  return TRUE;
}

static gboolean
is_blank(guint8 c)
{
  return c == ' ' || c == '\0';
}

gboolean
tar_parse_number(const guint8 *field, gsize size, gint64 *ret_value)
{
  const guint8 *end = field + size;
  guint64 value = 0;

  if ((field[0] & 0x80) != 0)
    return parse_base256(field, size, ret_value);
  while (field < end && is_blank(*field))
    field++;
  for (; field < end && !is_blank(*field); field++) {
    if (*field < '0' || *field > '7' || value >> 60 != 0)
      return FALSE;
    value = value << 3 | (guint64)(*field - '0');
  }
  *ret_value = (gint64)value;
  return TRUE;
}

/* The sum of all bytes, the checksum's own taken for spaces. Some old tars summed signed ones. */
static gboolean
checksum_matches(const guint8 *block)
{
  gint64 expected, plain = 0, with_sign = 0;

  for (int i = 0; i < TAR_BLOCK_SIZE; i++) {
    guint8 byte = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_SIZE ? ' ' : block[i];
    plain += byte;
    with_sign += (gint8)byte;
  }
  return tar_parse_number(block + CHECKSUM, CHECKSUM_SIZE, &expected) &&
         (expected == plain || expected == with_sign);
}

static TarFormat
detect_format(const guint8 *block)
{
  if (memcmp(block + MAGIC, "ustar  ", 8) == 0)
    return TAR_FORMAT_GNU;
  if (memcmp(block + MAGIC, "ustar", 6) != 0)
    return TAR_FORMAT_V7;
  return memcmp(block + STAR_TRAILER, "tar", 4) == 0 ? TAR_FORMAT_STAR : TAR_FORMAT_USTAR;
}

static void
copy_string(char *out, const guint8 *field, gsize size)
{
  gsize length = strnlen((const char *)field, size);

  memcpy(out, field, length);
  out[length] = '\0';
}

static void
parse_name(const guint8 *block, TarHeader *header)
{
  char prefix[PREFIX_SIZE + 1] = "";
  gsize length;

  if (header->format == TAR_FORMAT_USTAR)
    copy_string(prefix, block + PREFIX, PREFIX_SIZE);
  else if (header->format == TAR_FORMAT_STAR)
    copy_string(prefix, block + PREFIX, STAR_PREFIX_SIZE);
  length = strlen(prefix);
  memcpy(header->name, prefix, length);
  if (length > 0)
    header->name[length++] = '/';
  copy_string(header->name + length, block + NAME, NAME_SIZE);
}

gboolean
tar_header_parse(const guint8 *block, TarHeader *ret_header, GError **error)
{
  TarHeader header = {0};

  if (!checksum_matches(block))
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "not a tar archive, or a corrupt one: "
                      "a header's checksum is wrong");
  header.format = detect_format(block);
  header.type = (char)block[TYPE];
  if (!tar_parse_number(block + MODE, ID_SIZE, &header.mode) ||
      !tar_parse_number(block + UID, ID_SIZE, &header.uid) ||
      !tar_parse_number(block + GID, ID_SIZE, &header.gid) ||
      !tar_parse_number(block + SIZE, LONG_SIZE, &header.size) ||
      !tar_parse_number(block + MTIME, LONG_SIZE, &header.mtime))
    return util_error(error, NIXSTORE_ERROR_INVALID, "a malformed number in a tar header");
  if (header.format != TAR_FORMAT_V7 && (!tar_parse_number(block + MAJOR, ID_SIZE, &header.major) ||
                                         !tar_parse_number(block + MINOR, ID_SIZE, &header.minor)))
    return util_error(error, NIXSTORE_ERROR_INVALID, "malformed device numbers in a tar header");
  copy_string(header.link, block + LINK, LINK_SIZE);
  parse_name(block, &header);
  *ret_header = header;
  return TRUE;
}

gboolean
tar_parse_gnu_sparse(const guint8 *block, gboolean in_header, GArray *map, gboolean *ret_more,
                     gint64 *ret_size)
{
  const guint8 *entry = in_header ? block + GNU_SPARSE : block;
  int count = in_header ? TAR_SPARSE_IN_HEADER : TAR_SPARSE_IN_BLOCK;

  if (in_header && !tar_parse_number(block + GNU_REAL_SIZE, LONG_SIZE, ret_size))
    return FALSE;
  for (int i = 0; i < count && entry[0] != '\0'; i++, entry += 2 * LONG_SIZE) {
    gint64 pair[2];

    if (!tar_parse_number(entry, LONG_SIZE, &pair[0]) ||
        !tar_parse_number(entry + LONG_SIZE, LONG_SIZE, &pair[1]))
      return FALSE;
    g_array_append_vals(map, pair, 2);
  }
  *ret_more = block[in_header ? GNU_EXTENDED : BLOCK_EXTENDED] != 0;
  return TRUE;
}
