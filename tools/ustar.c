/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "ustar.h"

#include <stdio.h>
#include <string.h>

/* The header of POSIX.1-1988 (IEEE Std 1003.1, pax, "ustar Interchange Format"). */
typedef struct {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100];
  char magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8], prefix[155], pad[12];
} UstarHeader;
G_STATIC_ASSERT(sizeof(UstarHeader) == USTAR_BLOCK);

static void
fill_size(char field[12], guint64 size)
{
  if (size <= 077777777777) {
    g_snprintf(field, 12, "%011" G_GINT64_MODIFIER "o", size);
    return;
  }
  memset(field, 0, 12);
  field[0] = (char)0x80;
  for (int i = 11; size > 0; i--, size >>= 8)
    field[i] = (char)(size & 0xff);
}

void
ustar_fill_header(guint8 block[USTAR_BLOCK], const char *name, char type, guint mode, guint64 size)
{
  UstarHeader header = {0};
  g_assert(strlen(name) < sizeof header.name);
  g_strlcpy(header.name, name, sizeof header.name);
  g_snprintf(header.mode, sizeof header.mode, "%07o", mode);
  g_snprintf(header.uid, sizeof header.uid, "%07o", 0);
  g_snprintf(header.gid, sizeof header.gid, "%07o", 0);
  fill_size(header.size, size);
  g_snprintf(header.mtime, sizeof header.mtime, "%011o", 0);
  header.type = type;
  memcpy(header.magic, "ustar", 6);
  memcpy(header.version, "00", 2);
  memset(header.checksum, ' ', sizeof header.checksum);
  guint sum = 0;
  for (gsize i = 0; i < sizeof header; i++)
    sum += ((const guint8 *)&header)[i];
  g_snprintf(header.checksum, 7, "%06o", sum);
  memcpy(block, &header, sizeof header);
}

gsize
ustar_padding(guint64 size)
{
  return (USTAR_BLOCK - size % USTAR_BLOCK) % USTAR_BLOCK;
}

static void
append_zeroes(GByteArray *archive, gsize size)
{
  guint old = archive->len;
  g_byte_array_set_size(archive, old + (guint)size);
  memset(archive->data + old, 0, size);
}

static void
append_header(GByteArray *archive, const char *name, char type, guint mode, guint64 size)
{
  guint8 block[USTAR_BLOCK];
  ustar_fill_header(block, name, type, mode, size);
  g_byte_array_append(archive, block, sizeof block);
}

void
ustar_append_directory(GByteArray *archive, const char *name)
{
  append_header(archive, name, '5', 0755, 0);
}

void
ustar_append_file(GByteArray *archive, const char *name, const void *data, gsize size)
{
  append_header(archive, name, '0', 0444, size);
  g_byte_array_append(archive, data, (guint)size);
  append_zeroes(archive, ustar_padding(size));
}

void
ustar_append_end(GByteArray *archive)
{
  append_zeroes(archive, 2 * USTAR_BLOCK);
}
