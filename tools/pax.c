/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "pax.h"
#include "ustar.h"
#include "util.h"

#include <string.h>

/* Bytes of a name in a ustar header. */
#define USTAR_NAME_SIZE 100

/* A record is "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static void
append_record(GString *records, const char *key, const void *value, gsize size)
{
  gsize rest = 1 + strlen(key) + 1 + size + 1;
  gsize length = rest + 1;
  char digits[24];
  while ((gsize)g_snprintf(digits, sizeof digits, "%" G_GSIZE_FORMAT, length) + rest != length)
    length = strlen(digits) + rest;
  g_string_append_printf(records, "%s %s=", digits, key);
  g_string_append_len(records, value, (gssize)size);
  g_string_append_c(records, '\n');
}

static void
append_text(GString *records, const char *key, const char *value)
{
  append_record(records, key, value, strlen(value));
}

static void
append_number(GString *records, const char *key, guint64 value)
{
  g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);
  append_text(records, key, text);
}

/* In an inode's time the nanoseconds count forward; the sign of a decimal is of all of it. */
static void
append_mtime(GString *records, const TreeInode *inode)
{
  GString *text = g_string_new(NULL);
  guint32 nsec = inode->mtime_nsec;
  if (inode->mtime < 0 && nsec > 0) {
    g_string_printf(text, "-%" G_GINT64_FORMAT, -(inode->mtime + 1));
    nsec = G_USEC_PER_SEC * 1000 - nsec;
  } else {
    g_string_printf(text, "%" G_GINT64_FORMAT, inode->mtime);
  }
  if (nsec > 0) {
    g_string_append_printf(text, ".%09u", nsec);
    while (text->str[text->len - 1] == '0')
      g_string_truncate(text, text->len - 1);
  }
  append_text(records, "mtime", text->str);
  g_string_free(text, TRUE);
}

static gboolean
append_xattrs(GString *records, const TreeInode *inode, GError **error)
{
  for (guint i = 0; inode->xattrs && i < inode->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(inode->xattrs, TreeXattr, i);
    g_autofree char *key = g_strconcat("SCHILY.xattr.", xattr->name, NULL);
    if (strchr(key, '='))
      return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                        "the xattr `%s': a tar cannot hold a name with `='", xattr->name);
    append_record(records, key, xattr->value, xattr->size);
  }
  return TRUE;
}

/* What @entry cannot hold of @inode. */
static gboolean
append_records(GString *records, const UstarEntry *entry, const TreeInode *inode, GError **error)
{
  if (strlen(entry->name) > USTAR_NAME_SIZE)
    append_text(records, "path", entry->name);
  if (entry->linkname && strlen(entry->linkname) > USTAR_NAME_SIZE)
    append_text(records, "linkpath", entry->linkname);
  if (entry->size > 077777777777)
    append_number(records, "size", entry->size);
  if (!ustar_fits_number(entry->uid))
    append_number(records, "uid", entry->uid);
  if (!ustar_fits_number(entry->gid))
    append_number(records, "gid", entry->gid);
  if (inode->mtime_nsec > 0 || !ustar_fits_mtime(inode->mtime))
    append_mtime(records, inode);
  return append_xattrs(records, inode, error);
}

static char
entry_type(const TreeInode *inode)
{
  switch (inode->mode & S_IFMT) {
  case S_IFDIR:
    return '5';
  case S_IFLNK:
    return '2';
  case S_IFCHR:
    return '3';
  case S_IFBLK:
    return '4';
  case S_IFIFO:
    return '6';
  default:
    return '0';
  }
}

static void
append_block(GByteArray *out, const UstarEntry *entry)
{
  guint8 block[USTAR_BLOCK];
  ustar_fill_header(block, entry);
  g_byte_array_append(out, block, sizeof block);
}

gboolean
pax_append_header(GByteArray *out, const TreeInode *inode, const char *path, const char *hardlink,
                  GError **error)
{
  static const guint8 zeroes[USTAR_BLOCK];
  g_autofree char *name =
      S_ISDIR(inode->mode) ? g_strconcat(*path ? path : ".", "/", NULL) : g_strdup(path);
  g_autoptr(GString) records = g_string_new(NULL);
  const UstarEntry entry = {
      .name = name,
      .linkname = hardlink ? hardlink : inode->target,
      .type = hardlink ? '1' : entry_type(inode),
      .mode = inode->mode & 07777,
      .uid = inode->uid,
      .gid = inode->gid,
      .rdev_major = inode->rdev_major,
      .rdev_minor = inode->rdev_minor,
      .size = !hardlink && S_ISREG(inode->mode) ? inode->size : 0,
      .mtime = inode->mtime,
  };
  if (S_ISSOCK(inode->mode))
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s is a socket, which a tar cannot hold",
                      path);
  /* A further name of a hard link has the attributes again: to set the owner, which whoever unpacks
   * it does, takes capabilities away. */
  if (!append_records(records, &entry, inode, error)) {
    g_prefix_error(error, "%s: ", path);
    return FALSE;
  }
  if (records->len > 0) {
    const UstarEntry extension = {
        .name = "PaxHeaders", .type = 'x', .mode = 0644, .size = records->len};
    append_block(out, &extension);
    g_byte_array_append(out, (const guint8 *)records->str, (guint)records->len);
    g_byte_array_append(out, zeroes, (guint)ustar_padding(records->len));
  }
  append_block(out, &entry);
  return TRUE;
}
