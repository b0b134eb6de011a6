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

gboolean
ustar_fits_number(guint32 number)
{
  return number <= 07777777;
}

gboolean
ustar_fits_mtime(gint64 mtime)
{
  return mtime >= 0 && mtime <= 077777777777;
}

static void
fill_number(char field[8], guint32 number)
{
  g_snprintf(field, 8, "%07o", ustar_fits_number(number) ? number : 0);
}

/* A text that fills its field has no NUL. */
static void
fill_text(char *field, gsize size, const char *text)
{
  memcpy(field, text, MIN(strlen(text), size));
}

void
ustar_fill_header(guint8 block[USTAR_BLOCK], const UstarEntry *entry)
{
  UstarHeader header = {0};
  fill_text(header.name, sizeof header.name, entry->name);
  fill_text(header.linkname, sizeof header.linkname, entry->linkname ? entry->linkname : "");
  fill_number(header.mode, entry->mode);
  fill_number(header.uid, entry->uid);
  fill_number(header.gid, entry->gid);
  fill_number(header.devmajor, entry->rdev_major);
  fill_number(header.devminor, entry->rdev_minor);
  fill_size(header.size, entry->size);
  fill_size(header.mtime, ustar_fits_mtime(entry->mtime) ? (guint64)entry->mtime : 0);
  header.type = entry->type;
  memcpy(header.magic, "ustar", 6);
  memcpy(header.version, "00", 2);
  memset(header.checksum, ' ', sizeof header.checksum);
  guint sum = 0;
  for (gsize i = 0; i < sizeof header; i++)
    sum += ((const guint8 *)&header)[i];
  g_snprintf(header.checksum, 7, "%06o", sum);
  memcpy(block, &header, sizeof header);
}

void
ustar_fill_file_header(guint8 block[USTAR_BLOCK], const char *name, guint64 size)
{
  const UstarEntry entry = {.name = name, .type = '0', .mode = 0444, .size = size};
  ustar_fill_header(block, &entry);
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

void
ustar_append_directory(GByteArray *archive, const char *name)
{
  guint8 block[USTAR_BLOCK];
  const UstarEntry entry = {.name = name, .type = '5', .mode = 0755};
  ustar_fill_header(block, &entry);
  g_byte_array_append(archive, block, sizeof block);
}

void
ustar_append_file(GByteArray *archive, const char *name, const void *data, gsize size)
{
  guint8 block[USTAR_BLOCK];
  ustar_fill_file_header(block, name, size);
  g_byte_array_append(archive, block, sizeof block);
  g_byte_array_append(archive, data, (guint)size);
  append_zeroes(archive, ustar_padding(size));
}

void
ustar_append_end(GByteArray *archive)
{
  append_zeroes(archive, 2 * USTAR_BLOCK);
}
