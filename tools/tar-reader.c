/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-reader.h"
#include "tar-header.h"
#include "tar-pax.h"
#include "util.h"

#include <string.h>

/* Longest pax header or GNU long name; libarchive's and archive/tar's limit. */
#define SPECIAL_MAX (1024 * 1024)
/* Pieces of one sparse file. */
#define SPARSE_MAX (1024 * 1024)

struct TarReader {
  TarFill fill;
  TarSkip skip;
  void *data;
  guint64 position;    /* of @piece in the archive */
  const guint8 *piece; /* what is left of the last piece */
  gsize piece_size;
  guint8 block[TAR_BLOCK_SIZE]; /* a block that lay across two pieces */

  guint64 remaining; /* bytes of the entry's content in the archive still to be read */
  guint64 padding;   /* that follow them */
  GArray *map;       /* of gint64 (offset, length): where content belongs; empty: all at 0 */
  guint map_index;   /* of the pair at hand */
  guint64 map_done;  /* bytes of it that are read */
  guint64 offset;    /* in a file without a map */

  TarHeader header;
  TarPax *pax; /* of the entry at hand; NULL */
  char *long_name, *long_link;
  TarEntry entry;
};

TarReader *
tar_reader_new(TarFill fill, TarSkip skip_function, void *data)
{
  TarReader *reader = g_new0(TarReader, 1);

  reader->fill = fill;
  reader->skip = skip_function;
  reader->data = data;
  reader->map = g_array_new(FALSE, FALSE, sizeof(gint64));
  return reader;
}

static void
clear_extensions(TarReader *reader)
{
  g_clear_pointer(&reader->pax, tar_pax_free);
  g_clear_pointer(&reader->long_name, g_free);
  g_clear_pointer(&reader->long_link, g_free);
}

void
tar_reader_free(TarReader *reader)
{
  if (reader == NULL)
    return;
  clear_extensions(reader);
  g_array_unref(reader->map);
  g_free(reader);
}

static gboolean
refill(TarReader *reader, GError **error)
{
  return reader->piece_size > 0 ||
         reader->fill(reader->data, &reader->piece, &reader->piece_size, error);
}

static gboolean
error_cut_off(GError **error)
{
  return util_error(error, NIXSTORE_ERROR_INVALID, "the tar archive is cut off");
}

/* Takes up to @max bytes of the input as they lie there; *ret_size 0 at its end. */
static gboolean
take(TarReader *reader, guint64 max, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  gsize size;

  if (!refill(reader, error))
    return FALSE;
  size = (gsize)MIN(max, reader->piece_size);
  *ret_piece = reader->piece;
  *ret_size = size;
  reader->piece += size;
  reader->piece_size -= size;
  reader->position += size;
  return TRUE;
}

static gboolean
skip(TarReader *reader, guint64 count, GError **error)
{
  while (count > 0) {
    const guint8 *piece;
    gsize size;

    if (reader->piece_size == 0 && reader->skip != NULL) {
      reader->position += count;
      return reader->skip(reader->data, count, error);
    }
    if (!take(reader, count, &piece, &size, error))
      return FALSE;
    if (size == 0)
      return error_cut_off(error);
    count -= size;
  }
  return TRUE;
}

/* The next block, NULL at the end of the input. It is valid until the next read. */
static gboolean
read_block(TarReader *reader, const guint8 **ret_block, GError **error)
{
  gsize have = 0;

  if (!refill(reader, error))
    return FALSE;
  if (reader->piece_size >= TAR_BLOCK_SIZE) {
    *ret_block = reader->piece;
    reader->piece += TAR_BLOCK_SIZE;
    reader->piece_size -= TAR_BLOCK_SIZE;
    reader->position += TAR_BLOCK_SIZE;
    return TRUE;
  }
  while (have < TAR_BLOCK_SIZE) {
    const guint8 *piece;
    gsize size;

    if (!take(reader, TAR_BLOCK_SIZE - have, &piece, &size, error))
      return FALSE;
    if (size == 0 && have > 0)
      return error_cut_off(error);
    if (size == 0) {
      *ret_block = NULL;
      return TRUE;
    }
    memcpy(reader->block + have, piece, size);
    have += size;
  }
  *ret_block = reader->block;
  return TRUE;
}

static gboolean
skip_content(TarReader *reader, GError **error)
{
  if (!skip(reader, reader->remaining, error))
    return FALSE;
  reader->remaining = 0;
  /* Some writers leave the padding of the last entry out, and the end marker with it. */
  while (reader->padding > 0) {
    const guint8 *piece;
    gsize size;

    if (!take(reader, reader->padding, &piece, &size, error))
      return FALSE;
    if (size == 0)
      break;
    reader->padding -= size;
  }
  reader->padding = 0;
  return TRUE;
}

static void
set_content(TarReader *reader, guint64 size)
{
  reader->remaining = size;
  reader->padding = (TAR_BLOCK_SIZE - size % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
  reader->offset = 0;
  reader->map_index = 0;
  reader->map_done = 0;
  g_array_set_size(reader->map, 0);
}

/* The whole body of a special entry. */
static char *
read_special(TarReader *reader, gsize *ret_size, GError **error)
{
  gsize size = (gsize)reader->header.size, have = 0;
  g_autofree char *body = NULL;

  if (reader->header.size < 0 || reader->header.size > SPECIAL_MAX) {
    util_error(error, NIXSTORE_ERROR_INVALID, "an extended tar header of more than %d bytes",
               SPECIAL_MAX);
    return NULL;
  }
  set_content(reader, size);
  body = g_malloc(size + 1);
  while (have < size) {
    const guint8 *piece;
    gsize got;

    if (!take(reader, size - have, &piece, &got, error))
      return NULL;
    if (got == 0) {
      error_cut_off(error);
      return NULL;
    }
    memcpy(body + have, piece, got);
    have += got;
  }
  body[size] = '\0';
  reader->remaining = 0;
  *ret_size = size;
  return g_steal_pointer(&body);
}

/* Handles an entry that only says something of the one that follows. */
static gboolean
read_extension(TarReader *reader, GError **error)
{
  g_autofree char *body = NULL;
  TarPax *pax;
  gsize size;

  body = read_special(reader, &size, error);
  if (body == NULL)
    return FALSE;
  switch (reader->header.type) {
  case 'L':
    g_free(reader->long_name);
    reader->long_name = g_steal_pointer(&body);
    return TRUE;
  case 'K':
    g_free(reader->long_link);
    reader->long_link = g_steal_pointer(&body);
    return TRUE;
  default:
    pax = tar_pax_parse(body, size, error);
    if (pax == NULL)
      return FALSE;
    tar_pax_free(reader->pax);
    reader->pax = pax;
    return TRUE;
  }
}

/* Reads headers until one is that of an entry. *ret_end: there is none any more. @ret_block: the
 * header itself, valid until the next read. */
static gboolean
read_header(TarReader *reader, gboolean *ret_end, const guint8 **ret_block, GError **error)
{
  for (;;) {
    const guint8 *block;

    if (!skip_content(reader, error) || !read_block(reader, &block, error))
      return FALSE;
    if (block != NULL && tar_block_is_zero(block)) {
      if (!read_block(reader, &block, error))
        return FALSE;
      if (block != NULL && !tar_block_is_zero(block))
        return util_error(error, NIXSTORE_ERROR_INVALID,
                          "a tar archive with a lone block of zeros in its middle");
      block = NULL;
    }
    if (block == NULL) {
      if (reader->pax != NULL || reader->long_name != NULL || reader->long_link != NULL)
        return error_cut_off(error);
      *ret_end = TRUE;
      return TRUE;
    }
    if (!tar_header_parse(block, &reader->header, error))
      return FALSE;
    if (strchr("xgLK", reader->header.type) == NULL || reader->header.type == '\0') {
      *ret_block = block;
      *ret_end = FALSE;
      return TRUE;
    }
    if (!read_extension(reader, error))
      return FALSE;
    if (reader->header.type == 'g') {
      *ret_end = FALSE;
      return TRUE;
    }
  }
}

static gboolean
entry_set_type(TarReader *reader, GError **error)
{
  TarEntry *entry = &reader->entry;
  char type = reader->header.type;

  switch (type) {
  case '\0':
    entry->type = g_str_has_suffix(entry->path, "/") ? TAR_DIRECTORY : TAR_FILE;
    return TRUE;
  case '0':
  case 'S':
    entry->type = TAR_FILE;
    return TRUE;
  case '1':
    entry->type = TAR_HARDLINK;
    return TRUE;
  case '2':
    entry->type = TAR_SYMLINK;
    return TRUE;
  case '3':
    entry->type = TAR_CHAR;
    return TRUE;
  case '4':
    entry->type = TAR_BLOCK;
    return TRUE;
  case '5':
    entry->type = TAR_DIRECTORY;
    return TRUE;
  case '6':
    entry->type = TAR_FIFO;
    return TRUE;
  default:
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s: a tar entry of unknown type 0x%02x",
                      entry->path, (guint)(guchar)type);
  }
}

/* The header's word, over it the pax header's, over it GNU's long names. */
static void
entry_merge(TarReader *reader)
{
  const TarHeader *header = &reader->header;
  const TarPax *pax = reader->pax;
  TarEntry *entry = &reader->entry;

  *entry = (TarEntry){
      .path = header->name,
      .link = header->link,
      .mode = (guint32)(header->mode & 07777),
      .uid = header->uid,
      .gid = header->gid,
      .mtime = header->mtime,
      .major = header->major,
      .minor = header->minor,
  };
  if (pax != NULL) {
    entry->path = pax->path != NULL ? pax->path : entry->path;
    entry->link = pax->link != NULL ? pax->link : entry->link;
    entry->uid = pax->has_uid ? pax->uid : entry->uid;
    entry->gid = pax->has_gid ? pax->gid : entry->gid;
    if (pax->has_mtime) {
      entry->mtime = pax->mtime;
      entry->mtime_nsec = pax->mtime_nsec;
    }
    entry->xattrs = pax->xattrs->len > 0 ? pax->xattrs : NULL;
  }
  if (reader->long_name != NULL && *reader->long_name != '\0')
    entry->path = reader->long_name;
  if (reader->long_link != NULL && *reader->long_link != '\0')
    entry->link = reader->long_link;
}

static gboolean
error_sparse(GError **error)
{
  return util_error(error, NIXSTORE_ERROR_INVALID, "a malformed map of a sparse file in a tar");
}

/* A line of the map of format 1.0, which starts the content, decimal and at the file's cost. The
 * map is followed by padding of its own. */
static gboolean
read_map_number(TarReader *reader, gint64 *ret_value, guint64 *used, GError **error)
{
  char text[24];
  gsize length = 0;

  for (;;) {
    const guint8 *piece;
    gsize size;

    if (reader->remaining == 0)
      return error_sparse(error);
    if (!take(reader, 1, &piece, &size, error))
      return FALSE;
    if (size == 0)
      return error_cut_off(error);
    reader->remaining--;
    ++*used;
    if (*piece == '\n')
      break;
    if (length == sizeof text)
      return error_sparse(error);
    text[length++] = (char)*piece;
  }
  return tar_parse_decimal(text, length, ret_value) || error_sparse(error);
}

static gboolean
read_sparse_map_1_0(TarReader *reader, GError **error)
{
  guint64 used = 0, padding;
  gint64 count, number;

  if (!read_map_number(reader, &count, &used, error))
    return FALSE;
  if (count < 0 || count > SPARSE_MAX)
    return error_sparse(error);
  for (gint64 i = 0; i < 2 * count; i++) {
    if (!read_map_number(reader, &number, &used, error))
      return FALSE;
    g_array_append_val(reader->map, number);
  }
  padding = (TAR_BLOCK_SIZE - used % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
  if (padding > reader->remaining)
    return error_sparse(error);
  reader->remaining -= padding;
  return skip(reader, padding, error);
}

static gboolean
read_gnu_sparse_map(TarReader *reader, const guint8 *block, gint64 *ret_size, GError **error)
{
  gboolean in_header = TRUE, more;

  if (reader->header.format != TAR_FORMAT_GNU)
    return error_sparse(error);
  for (;;) {
    if (!tar_parse_gnu_sparse(block, in_header, reader->map, &more, ret_size) ||
        reader->map->len > 2 * SPARSE_MAX)
      return error_sparse(error);
    if (!more)
      return TRUE;
    in_header = FALSE;
    if (!read_block(reader, &block, error))
      return FALSE;
    if (block == NULL)
      return error_cut_off(error);
  }
}

/* Pieces must be in order and within @size, and be what the archive holds. */
static gboolean
check_sparse_map(TarReader *reader, gint64 size, GError **error)
{
  gint64 end = 0;
  guint64 total = 0;

  for (guint i = 0; i < reader->map->len; i += 2) {
    gint64 offset = g_array_index(reader->map, gint64, i);
    gint64 length = g_array_index(reader->map, gint64, i + 1);

    if (offset < end || length < 0 || length > size - offset)
      return error_sparse(error);
    end = offset + length;
    total += (guint64)length;
  }
  return (size >= 0 && total == reader->remaining) || error_sparse(error);
}

/* Whether the pax header makes its entry a sparse file, and of which format. */
static gboolean
pax_is_sparse(const TarPax *pax, gboolean *ret_1_0)
{
  if (pax == NULL)
    return FALSE;
  *ret_1_0 = pax->sparse_major == 1 && pax->sparse_minor == 0;
  if (*ret_1_0)
    return TRUE;
  if (pax->sparse_major == 0 && (pax->sparse_minor == 0 || pax->sparse_minor == 1))
    return TRUE;
  return pax->sparse_major == -1 && pax->sparse_minor == -1 && pax->sparse_map->len > 0;
}

static gboolean
read_pax_sparse_map(TarReader *reader, gboolean is_1_0, gint64 *ret_size, GError **error)
{
  const TarPax *pax = reader->pax;

  if (pax->sparse_name != NULL)
    reader->entry.path = pax->sparse_name;
  if (pax->has_sparse_size)
    *ret_size = pax->sparse_size;
  if (is_1_0)
    return read_sparse_map_1_0(reader, error);
  if (!pax->has_sparse_count || pax->sparse_map->len % 2 != 0 ||
      pax->sparse_count != pax->sparse_map->len / 2)
    return error_sparse(error);
  g_array_append_vals(reader->map, pax->sparse_map->data, pax->sparse_map->len);
  return TRUE;
}

/* Sets up the content of the file at hand. */
static gboolean
entry_set_content(TarReader *reader, const guint8 *block, GError **error)
{
  gint64 size = reader->header.size;
  gboolean is_1_0, sparse = TRUE;

  if (reader->pax != NULL && reader->pax->has_size)
    size = reader->pax->size;
  if (size < 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a tar entry of negative size");
  set_content(reader, reader->entry.type == TAR_FILE ? (guint64)size : 0);
  if (reader->header.type == 'S') {
    if (!read_gnu_sparse_map(reader, block, &size, error))
      return FALSE;
  } else if (pax_is_sparse(reader->pax, &is_1_0)) {
    if (reader->entry.type != TAR_FILE)
      return error_sparse(error);
    if (!read_pax_sparse_map(reader, is_1_0, &size, error))
      return FALSE;
  } else {
    sparse = FALSE;
  }
  if (sparse && !check_sparse_map(reader, size, error))
    return FALSE;
  reader->entry.size = reader->entry.type == TAR_FILE ? (guint64)size : 0;
  reader->entry.holes = reader->entry.size - reader->remaining;
  return TRUE;
}

gboolean
tar_reader_next(TarReader *reader, const TarEntry **ret_entry, GError **error)
{
  const guint8 *block = NULL;
  gboolean end;

  clear_extensions(reader);
  if (!read_header(reader, &end, &block, error))
    return FALSE;
  if (end) {
    *ret_entry = NULL;
    return TRUE;
  }
  entry_merge(reader);
  if (reader->header.type == 'g') {
    reader->entry.type = TAR_GLOBAL;
    *ret_entry = &reader->entry;
    return TRUE;
  }
  if (!entry_set_type(reader, error) || !entry_set_content(reader, block, error))
    return FALSE;
  *ret_entry = &reader->entry;
  return TRUE;
}

/* How many bytes may be read in one go, and where they belong. */
static guint64
next_extent(TarReader *reader, guint64 *ret_offset)
{
  *ret_offset = reader->offset;
  if (reader->map->len == 0)
    return reader->remaining;
  for (; reader->map_index < reader->map->len; reader->map_index += 2) {
    gint64 offset = g_array_index(reader->map, gint64, reader->map_index);
    gint64 length = g_array_index(reader->map, gint64, reader->map_index + 1);

    *ret_offset = (guint64)offset + reader->map_done;
    if (reader->map_done < (guint64)length)
      return (guint64)length - reader->map_done;
    reader->map_done = 0;
  }
  return 0;
}

gboolean
tar_reader_read(TarReader *reader, const guint8 **ret_piece, gsize *ret_size, guint64 *ret_offset,
                GError **error)
{
  guint64 max = next_extent(reader, ret_offset);

  if (max == 0) {
    *ret_size = 0;
    return TRUE;
  }
  if (!take(reader, max, ret_piece, ret_size, error))
    return FALSE;
  if (*ret_size == 0)
    return error_cut_off(error);
  reader->remaining -= *ret_size;
  reader->offset += *ret_size;
  reader->map_done += *ret_size;
  return TRUE;
}

guint64
tar_reader_position(const TarReader *reader)
{
  return reader->position;
}
