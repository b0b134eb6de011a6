/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-fixture.h"

#include <stdio.h>
#include <string.h>

#define BLOCK 512

static void
put_octal(guint8 *field, gsize size, guint64 value)
{
  char digits[32];

  /* By way of a buffer that any number fits: the compiler warns of a field that might not. */
  snprintf(digits, sizeof digits, "%022" G_GINT64_MODIFIER "o", value);
  memcpy(field, digits + strlen(digits) - (size - 1), size - 1);
}

void
tar_fixture_fix_checksum(guint8 *block)
{
  guint sum = 0;

  memset(block + 148, ' ', 8);
  for (int i = 0; i < BLOCK; i++)
    sum += block[i];
  snprintf((char *)block + 148, 7, "%06o", sum);
}

static void
add_padding(GByteArray *tar)
{
  static const guint8 zeros[BLOCK];

  g_byte_array_append(tar, zeros, (BLOCK - tar->len % BLOCK) % BLOCK);
}

static void
add_header(GByteArray *tar, const TarFixture *entry, gsize size)
{
  guint8 block[BLOCK] = {0};
  guint mode = entry->mode != 0 ? entry->mode : entry->type == '5' ? 0755 : 0644;

  memcpy(block, entry->path, MIN(strlen(entry->path), 100));
  put_octal(block + 100, 8, mode);
  put_octal(block + 108, 8, entry->uid);
  put_octal(block + 116, 8, entry->gid);
  put_octal(block + 124, 12, size);
  put_octal(block + 136, 12, (guint64)entry->mtime);
  block[156] = (guint8)(entry->type != '\0' ? entry->type : '0');
  if (entry->link != NULL)
    memcpy(block + 157, entry->link, MIN(strlen(entry->link), 100));
  memcpy(block + 257, "ustar\00000", 8);
  put_octal(block + 329, 8, entry->major);
  put_octal(block + 337, 8, entry->minor);
  tar_fixture_fix_checksum(block);
  g_byte_array_append(tar, block, BLOCK);
}

void
tar_fixture_add_special(GByteArray *tar, char type, const void *body, gsize size)
{
  TarFixture entry = {.type = type, .path = "special"};

  add_header(tar, &entry, size);
  g_byte_array_append(tar, body, (guint)size);
  add_padding(tar);
}

/* "SIZE KEY=VALUE\n", where SIZE counts its own digits too. */
static void
append_record(GString *body, const char *record)
{
  gsize rest = strlen(record) + 2, size = rest + 1;
  char digits[16];

  while (rest + (gsize)snprintf(digits, sizeof digits, "%" G_GSIZE_FORMAT, size) != size)
    size = rest + strlen(digits);
  g_string_append_printf(body, "%" G_GSIZE_FORMAT " %s\n", size, record);
}

void
tar_fixture_add(GByteArray *tar, const TarFixture *entry)
{
  g_autoptr(GString) body = g_string_new(NULL);
  gsize size = entry->data == NULL ? 0 : entry->size != 0 ? entry->size : strlen(entry->data);

  for (gsize i = 0; i < G_N_ELEMENTS(entry->pax) && entry->pax[i] != NULL; i++)
    append_record(body, entry->pax[i]);
  if (body->len > 0)
    tar_fixture_add_special(tar, 'x', body->str, body->len);
  add_header(tar, entry, size);
  if (size > 0)
    g_byte_array_append(tar, (const guint8 *)entry->data, (guint)size);
  add_padding(tar);
}

void
tar_fixture_end(GByteArray *tar)
{
  static const guint8 zeros[2 * BLOCK];

  g_byte_array_append(tar, zeros, sizeof zeros);
}

GByteArray *
tar_fixture_new(const TarFixture *entries, gsize n_entries)
{
  GByteArray *tar = g_byte_array_new();

  for (gsize i = 0; i < n_entries; i++)
    tar_fixture_add(tar, &entries[i]);
  tar_fixture_end(tar);
  return tar;
}

gboolean
tar_fixture_fill(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  TarFixtureInput *input = data;
  gsize size = MIN(input->piece, input->size - input->offset);

  *ret_piece = input->data + input->offset;
  *ret_size = size;
  input->offset += size;
  return TRUE;
}
