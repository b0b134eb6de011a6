/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-listing.h"

#include <string.h>

static gboolean
append_content(GString *text, TarReader *reader, const TarEntry *entry, GError **error)
{
  gsize show = (gsize)MIN(entry->size, TAR_LISTING_SHOW_MAX);
  char content[TAR_LISTING_SHOW_MAX] = {0};

  for (;;) {
    const guint8 *piece;
    gsize size;
    guint64 offset;

    if (!tar_reader_read(reader, &piece, &size, &offset, error))
      return FALSE;
    if (size == 0)
      break;
    if (offset < show)
      memcpy(content + offset, piece, MIN(size, show - (gsize)offset));
  }
  g_string_append_c(text, ' ');
  for (gsize i = 0; i < show; i++)
    g_string_append_c(text, content[i] != '\0' ? content[i] : '.');
  return TRUE;
}

static int
compare_xattrs(gconstpointer a, gconstpointer b)
{
  return strcmp(((const TreeXattr *)a)->name, ((const TreeXattr *)b)->name);
}

static gboolean
append_entry(GString *text, TarReader *reader, const TarEntry *entry, gboolean read, GError **error)
{
  g_string_append_printf(text, "%u %s", entry->type, entry->path);
  if (entry->type == TAR_HARDLINK || entry->type == TAR_SYMLINK)
    g_string_append_printf(text, " -> %s", entry->link);
  g_string_append_printf(text, " 0%o %" G_GINT64_FORMAT ":%" G_GINT64_FORMAT, entry->mode,
                         entry->uid, entry->gid);
  g_string_append_printf(text, " %" G_GINT64_FORMAT ".%09u", entry->mtime, entry->mtime_nsec);
  if (entry->type == TAR_CHAR || entry->type == TAR_BLOCK)
    g_string_append_printf(text, " %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT, entry->major,
                           entry->minor);
  if (entry->type == TAR_FILE && read && entry->size <= TAR_LISTING_READ_MAX &&
      !append_content(text, reader, entry, error))
    return FALSE;
  g_array_sort(entry->xattrs, compare_xattrs);
  for (guint i = 0; i < entry->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(entry->xattrs, TreeXattr, i);

    g_string_append_printf(text, " %s=", xattr->name);
    g_string_append_len(text, (const char *)xattr->value, (gssize)xattr->size);
  }
  g_string_append_c(text, '\n');
  return TRUE;
}

gboolean
tar_listing_append(GString *text, TarReader *reader, gboolean read, GError **error)
{
  for (;;) {
    const TarEntry *entry;

    if (!tar_reader_next(reader, &entry, error))
      return FALSE;
    if (entry == NULL)
      return TRUE;
    if (!append_entry(text, reader, entry, read, error))
      return FALSE;
  }
}
