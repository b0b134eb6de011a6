/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "erofs-format.h"

#include <string.h>

guint32
erofs_crc32c(guint32 crc, const void *data, gsize size)
{
  const guint8 *bytes = data;

  for (gsize i = 0; i < size; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (0x82f63b78u & -(crc & 1));
  }
  return crc;
}

/* By index. The ACLs' are whole names. */
static const char *const xattr_prefixes[] = {
    [1] = "user.",
    [2] = "system.posix_acl_access",
    [3] = "system.posix_acl_default",
    [4] = "trusted.",
    [6] = "security.",
};

static gboolean
prefix_is_whole(guint8 index)
{
  return index == 2 || index == 3;
}

guint8
erofs_xattr_prefix_index(const char *name, gsize *ret_prefix_size)
{
  for (guint8 i = 1; i < G_N_ELEMENTS(xattr_prefixes); i++) {
    gsize size;

    if (xattr_prefixes[i] == NULL)
      continue;
    size = strlen(xattr_prefixes[i]);
    if (strncmp(name, xattr_prefixes[i], size) != 0)
      continue;
    /* "user." alone is no name, "system.posix_acl_access" with a rest is another one. */
    if (prefix_is_whole(i) != (name[size] == '\0'))
      continue;
    *ret_prefix_size = size;
    return i;
  }
  return 0;
}

const char *
erofs_xattr_prefix(guint8 index)
{
  return index < G_N_ELEMENTS(xattr_prefixes) ? xattr_prefixes[index] : NULL;
}

/* xxHash's 32-bit variant, from its specification (doc/xxhash_spec.md, "XXH32"). */
#define XXH_PRIME_1 0x9e3779b1u
#define XXH_PRIME_2 0x85ebca77u
#define XXH_PRIME_3 0xc2b2ae3du
#define XXH_PRIME_4 0x27d4eb2fu
#define XXH_PRIME_5 0x165667b1u

static guint32
rotate_left(guint32 value, int bits)
{
  return (value << bits) | (value >> (32 - bits));
}

static guint32
read_le32(const guint8 *bytes)
{
  guint32 value;

  memcpy(&value, bytes, sizeof value);
  return GUINT32_FROM_LE(value);
}

static guint32
xxh32(guint32 seed, const guint8 *bytes, gsize size)
{
  const guint8 *end = bytes + size;
  guint32 hash;

  if (size >= 16) {
    guint32 lanes[4] = {seed + XXH_PRIME_1 + XXH_PRIME_2, seed + XXH_PRIME_2, seed,
                        seed - XXH_PRIME_1};
    for (; end - bytes >= 16; bytes += 16) {
      for (int i = 0; i < 4; i++) {
        lanes[i] += read_le32(bytes + 4 * i) * XXH_PRIME_2;
        lanes[i] = rotate_left(lanes[i], 13) * XXH_PRIME_1;
      }
    }
    hash = rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) +
           rotate_left(lanes[3], 18);
  } else {
    hash = seed + XXH_PRIME_5;
  }

  hash += (guint32)size;
  for (; end - bytes >= 4; bytes += 4)
    hash = rotate_left(hash + read_le32(bytes) * XXH_PRIME_3, 17) * XXH_PRIME_4;
  for (; bytes < end; bytes++)
    hash = rotate_left(hash + *bytes * XXH_PRIME_5, 11) * XXH_PRIME_1;
  hash = (hash ^ (hash >> 15)) * XXH_PRIME_2;
  hash = (hash ^ (hash >> 13)) * XXH_PRIME_3;
  return hash ^ (hash >> 16);
}

guint32
erofs_xattr_filter_bit(guint8 index, const char *rest, gsize size)
{
  return 1u << (xxh32(0x25bbe08fu + index, (const guint8 *)rest, size) & 31);
}
