/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tar-reader.h"
#include "ustar.h"
#include "util.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>

#define BLOCK_SIZE USTAR_BLOCK
/* Of a header, where the fields are that libarchive does not give away as they are. */
#define HEADER_MODE 100
#define HEADER_CHECKSUM 148
#define HEADER_TYPE 156
#define OCTAL_SIZE 8

/* What all headers of one entry and the map of a sparse file may take: libarchive has no limit for
 * such a map, of which it makes a list. (It has one of 1 MiB for a pax header, as archive/tar.) */
#define HEADERS_MAX (2 * 1024 * 1024)
/* Of one entry; no file system takes as many. */
#define XATTRS_MAX 1000

/* Kept of what came before the piece at hand, in which most headers are whole. */
#define TAIL_SIZE (16 * BLOCK_SIZE)

struct TarReader {
  TarFill fill;
  TarSkip skip;
  void *data;
  struct archive *archive; /* NULL: not opened yet */
  locale_t locale;
  GArray *xattrs;
  TarEntry entry;

  /* The stream as libarchive has been given it, from @prologue on. */
  guint8 prologue[BLOCK_SIZE];
  const guint8 *piece; /* the last one */
  gsize piece_size;
  guint64 given; /* where it ends */
  guint64 end;   /* of the archive; G_MAXUINT64: not known yet */
  guint8 tail[TAIL_SIZE];
  gsize tail_size;     /* bytes that lie before the piece, at the end of @tail */
  gint64 headers_left; /* bytes that may be given while headers are read; -1: none are */
  GError *error;       /* what libarchive's callbacks failed with */

  /* The entry at hand. */
  guint64 start;   /* of its content in the archive */
  guint64 content; /* bytes of it in the archive */
  gboolean
      all_holes;  /* perhaps: libarchive does not tell a file of nothing else from one without */
  guint64 done;   /* bytes of it that were read */
  guint64 offset; /* behind what was read last, in the file */
};

TarReader *
tar_reader_new(TarFill fill, TarSkip skip, void *data)
{
  TarReader *reader = g_new0(TarReader, 1);

  reader->fill = fill;
  reader->skip = skip;
  reader->data = data;
  reader->end = G_MAXUINT64;
  reader->headers_left = -1;
  reader->locale = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
  reader->xattrs = g_array_new(FALSE, FALSE, sizeof(TreeXattr));
  return reader;
}

void
tar_reader_free(TarReader *reader)
{
  if (reader == NULL)
    return;
  if (reader->archive != NULL)
    archive_read_free(reader->archive);
  freelocale(reader->locale);
  g_array_unref(reader->xattrs);
  g_clear_error(&reader->error);
  g_free(reader);
}

static gboolean
invalid(GError **error, const char *text)
{
  return util_error(error, NIXSTORE_ERROR_INVALID, "%s", text);
}

static gboolean
error_cut_off(GError **error)
{
  return invalid(error, "the tar archive is cut off");
}

/* What libarchive's last call failed with. */
static gboolean
error_archive(TarReader *reader, GError **error)
{
  const char *text = archive_error_string(reader->archive);

  if (reader->error != NULL) {
    g_propagate_error(error, g_steal_pointer(&reader->error));
    return FALSE;
  }
  if (text != NULL && g_str_has_prefix(text, "Truncated"))
    return error_cut_off(error);
  return util_error(error, NIXSTORE_ERROR_INVALID, "not a tar archive, or a corrupt one: %s",
                    text != NULL ? text : "a malformed header");
}

/* -------------------------------------------------------------- the stream --- */

static void
keep_tail(TarReader *reader)
{
  gsize keep = MIN(reader->tail_size, TAIL_SIZE - MIN(reader->piece_size, TAIL_SIZE));
  gsize add = MIN(reader->piece_size, TAIL_SIZE);

  memmove(reader->tail + TAIL_SIZE - add - keep, reader->tail + TAIL_SIZE - keep, keep);
  if (add > 0)
    memcpy(reader->tail + TAIL_SIZE - add, reader->piece + reader->piece_size - add, add);
  reader->tail_size = keep + add;
}

/* Writers that do not close their archive leave out the padding of the last entry, and the end
 * marker with it. archive/tar takes that, and so libarchive must be given the padding. */
static void
stream_end(TarReader *reader)
{
  static const guint8 zeros[BLOCK_SIZE];

  if (reader->end == G_MAXUINT64)
    reader->end = reader->given;
  reader->piece = zeros;
  reader->piece_size = (gsize)(-reader->given % BLOCK_SIZE);
}

static gboolean
stream_fill(TarReader *reader, GError **error)
{
  keep_tail(reader);
  reader->piece = reader->prologue;
  reader->piece_size = reader->given == 0 ? BLOCK_SIZE : 0;
  if (reader->given > 0 && reader->end == G_MAXUINT64 &&
      !reader->fill(reader->data, &reader->piece, &reader->piece_size, error))
    return FALSE;
  if (reader->piece_size == 0)
    stream_end(reader);
  reader->given += reader->piece_size;
  if (reader->headers_left < 0)
    return TRUE;
  if (reader->headers_left == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "tar headers of more than %d bytes",
                      HEADERS_MAX);
  reader->headers_left -= MIN(reader->headers_left, (gint64)reader->piece_size);
  return TRUE;
}

static la_ssize_t
read_callback(struct archive *archive, void *data, const void **ret_piece)
{
  TarReader *reader = data;

  if (reader->error != NULL || !stream_fill(reader, &reader->error))
    return -1;
  *ret_piece = reader->piece;
  return (la_ssize_t)reader->piece_size;
}

/* libarchive goes on by reading where this fails. */
static la_int64_t
skip_callback(struct archive *archive, void *data, la_int64_t count)
{
  TarReader *reader = data;

  if (reader->skip == NULL || reader->error != NULL ||
      !reader->skip(reader->data, (guint64)count, &reader->error))
    return 0;
  reader->piece_size = reader->tail_size = 0;
  reader->given += (guint64)count;
  return count;
}

static guint64
stream_position(const TarReader *reader)
{
  return (guint64)archive_filter_bytes(reader->archive, -1);
}

/* The prologue is there because libarchive loses a target that stands in a pax header alone (Go
 * writes so what has no ASCII in it), unless the archive had a link with one in its header before.
 */
static gboolean
stream_open(TarReader *reader, GError **error)
{
  static const UstarEntry link = {.name = "prologue", .linkname = "target", .type = '2'};
  struct archive *archive = reader->archive = archive_read_new();
  struct archive_entry *entry;

  ustar_fill_header(reader->prologue, &link);
  /* No other format is ever tried, and nothing is decompressed. */
  if (archive_read_set_format(archive, ARCHIVE_FORMAT_TAR) != ARCHIVE_OK ||
      archive_read_set_format_option(archive, "tar", "mac-ext", NULL) != ARCHIVE_OK ||
      archive_read_set_read_callback(archive, read_callback) != ARCHIVE_OK ||
      archive_read_set_skip_callback(archive, skip_callback) != ARCHIVE_OK ||
      archive_read_set_callback_data(archive, reader) != ARCHIVE_OK ||
      archive_read_open1(archive) != ARCHIVE_OK ||
      archive_read_next_header(archive, &entry) != ARCHIVE_OK)
    return error_archive(reader, error);
  reader->start = stream_position(reader);
  return TRUE;
}

guint64
tar_reader_position(const TarReader *reader)
{
  return stream_position(reader) - BLOCK_SIZE;
}

/* Copies the @size bytes that libarchive read last. FALSE if they are not all at hand. */
static gboolean
last_bytes(const TarReader *reader, gsize size, guint8 *out)
{
  guint64 end = stream_position(reader), piece_start = reader->given - reader->piece_size;
  gsize of_piece = end > piece_start ? (gsize)MIN(end - piece_start, size) : 0;
  gsize behind = end > piece_start ? 0 : (gsize)(piece_start - end);
  gsize of_tail = size - of_piece;

  if (of_tail + behind > reader->tail_size)
    return FALSE;
  memcpy(out, reader->tail + TAIL_SIZE - behind - of_tail, of_tail);
  if (of_piece > 0)
    memcpy(out + of_tail, reader->piece + (end - piece_start) - of_piece, of_piece);
  return TRUE;
}

/* ------------------------------------------------------------- the headers --- */

static gint64
parse_octal(const guint8 *field)
{
  char text[OCTAL_SIZE + 1] = "";
  gsize blank = 0;

  while (blank < OCTAL_SIZE && (field[blank] == ' ' || field[blank] == '\0'))
    blank++;
  memcpy(text, field + blank, OCTAL_SIZE - blank);
  return (gint64)g_ascii_strtoull(text, NULL, 8);
}

/* The sum of all bytes, the checksum's own taken for spaces. Some old tars summed signed ones. */
static gboolean
checksum_matches(const guint8 *block)
{
  gint64 expected = parse_octal(block + HEADER_CHECKSUM);
  gint32 plain = OCTAL_SIZE * ' ', with_sign = plain;

  for (gsize i = 0; i < BLOCK_SIZE; i++) {
    plain += block[i];
    with_sign += (gint8)block[i];
  }
  for (gsize i = HEADER_CHECKSUM; i < HEADER_CHECKSUM + OCTAL_SIZE; i++) {
    plain -= block[i];
    with_sign -= (gint8)block[i];
  }
  return expected == plain || expected == with_sign;
}

/* The header of the entry at hand; FALSE if the map of a sparse file lies between it and the
 * content. libarchive says nothing of unknown types, takes a file with a pax record `linkpath' for
 * a hard link and one with a slash at the end of its name for a directory, and lets ACLs change the
 * mode. */
static gboolean
get_header(const TarReader *reader, guint8 header[BLOCK_SIZE])
{
  return last_bytes(reader, BLOCK_SIZE, header) && checksum_matches(header);
}

static gboolean
entry_set_type(TarEntry *entry, char type, GError **error)
{
  static const TarType types[] = {TAR_FILE,  TAR_HARDLINK,  TAR_SYMLINK, TAR_CHAR,
                                  TAR_BLOCK, TAR_DIRECTORY, TAR_FIFO};

  if (type == '\0')
    entry->type = g_str_has_suffix(entry->path, "/") ? TAR_DIRECTORY : TAR_FILE;
  else if (type == 'S')
    entry->type = TAR_FILE;
  else if (type >= '0' && type < '0' + (int)G_N_ELEMENTS(types))
    entry->type = types[type - '0'];
  else
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s: a tar entry of unknown type 0x%02x",
                      entry->path, (guint)(guchar)type);
  return TRUE;
}

/* Of several records of one name the last is the first here; an empty one takes the others back. */
static gboolean
entry_set_xattrs(TarReader *reader, struct archive_entry *from, GError **error)
{
  GArray *xattrs = reader->xattrs;
  const char *name;
  const void *value;
  size_t size;

  g_array_set_size(xattrs, 0);
  if (archive_entry_xattr_reset(from) > XATTRS_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "more than %d xattrs", XATTRS_MAX);
  while (archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
    TreeXattr xattr = {(char *)name, (guint8 *)value, size};
    guint i = 0;

    while (i < xattrs->len && strcmp(g_array_index(xattrs, TreeXattr, i).name, name) != 0)
      i++;
    if (i == xattrs->len)
      g_array_append_val(xattrs, xattr);
  }
  for (guint i = xattrs->len; i-- > 0;)
    if (g_array_index(xattrs, TreeXattr, i).size == 0)
      g_array_remove_index_fast(xattrs, i);
  return TRUE;
}

/* Whether there is a minus in the pax record of a time without whole seconds. That libarchive does
 * not say, so the headers are looked through, or the last of them if they are that large. */
static gboolean
zero_is_negative(const TarReader *reader)
{
  guint64 headers = reader->start - (guint64)archive_read_header_position(reader->archive);
  gsize size = (gsize)MIN(headers, TAIL_SIZE);
  guint8 bytes[TAIL_SIZE];

  return last_bytes(reader, size, bytes) && memmem(bytes, size, " mtime=-0", 9) != NULL;
}

/* To libarchive a minus is the seconds' alone: it reads -1.5 as -1 and a half, and -0.5 as 0.5. */
static void
entry_set_time(TarReader *reader, struct archive_entry *from)
{
  gint64 seconds = archive_entry_mtime(from);
  guint32 nsec = (guint32)archive_entry_mtime_nsec(from);

  if (nsec > 0 && seconds > G_MININT64 &&
      (seconds < 0 || (seconds == 0 && zero_is_negative(reader)))) {
    seconds--;
    nsec = 1000000000 - nsec;
  }
  reader->entry.mtime = seconds;
  reader->entry.mtime_nsec = nsec;
}

/* Sets up the content of the entry at hand. */
static gboolean
entry_set_content(TarReader *reader, struct archive_entry *from, gboolean has_map, GError **error)
{
  TarEntry *entry = &reader->entry;
  gint64 size = archive_entry_size(from), offset, length;

  reader->content = reader->done = reader->offset = 0;
  reader->all_holes = FALSE;
  if (entry->type != TAR_FILE)
    return TRUE;
  if (size < 0)
    return invalid(error, "a tar entry of negative size");
  if ((size > 0 || has_map) && archive_entry_filetype(from) != AE_IFREG)
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s: content of what is no file", entry->path);
  entry->size = (guint64)size;
  entry->sparse = archive_entry_sparse_reset(from) > 0;
  reader->content = entry->sparse ? 0 : entry->size;
  reader->all_holes = !entry->sparse;
  while (entry->sparse && archive_entry_sparse_next(from, &offset, &length) == ARCHIVE_OK)
    reader->content += (guint64)length;
  entry->sparse |= has_map;
  return TRUE;
}

static gboolean
entry_read(TarReader *reader, struct archive_entry *from, GError **error)
{
  TarEntry *entry = &reader->entry;
  const char *path = archive_entry_pathname(from), *link = archive_entry_hardlink(from);
  guint8 header[BLOCK_SIZE];
  gboolean has_map = !get_header(reader, header);

  if (link == NULL)
    link = archive_entry_symlink(from);
  *entry = (TarEntry){
      .path = path != NULL ? path : "",
      .link = link != NULL ? link : "",
      .mode = (guint32)archive_entry_perm(from) & 07777,
      .uid = archive_entry_uid(from),
      .gid = archive_entry_gid(from),
      .major = (gint64)archive_entry_rdevmajor(from),
      .minor = (gint64)archive_entry_rdevminor(from),
      .xattrs = reader->xattrs,
  };
  if (!has_map && header[HEADER_MODE] < 0x80)
    entry->mode = (guint32)parse_octal(header + HEADER_MODE) & 07777;
  entry_set_time(reader, from);
  return entry_set_type(entry, has_map ? '0' : (char)header[HEADER_TYPE], error) &&
         entry_set_xattrs(reader, from, error) && entry_set_content(reader, from, has_map, error);
}

static gboolean
error_length(const TarReader *reader, GError **error)
{
  return util_error(error, NIXSTORE_ERROR_INVALID,
                    "%s: its content is not as long as its header says", reader->entry.path);
}

/* Passes over what is left of the entry at hand, and makes sure that libarchive and we agree about
 * how long its content is: it heeds a size also where archive/tar takes none. */
static gboolean
skip_content(TarReader *reader, GError **error)
{
  guint64 taken, padded = (reader->content + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;

  if (archive_read_data_skip(reader->archive) != ARCHIVE_OK)
    return error_archive(reader, error);
  taken = stream_position(reader) - reader->start;
  if (taken != padded && !(taken == 0 && reader->all_holes))
    return error_length(reader, error);
  if (taken > 0 && reader->start + reader->content > reader->end)
    return error_cut_off(error);
  return TRUE;
}

/* libarchive would have names in UTF-8 (a pax header's) made to fit the locale, and in one of UTF-8
 * composed. To the C locale what is not ASCII cannot be converted: then they stay as they are, with
 * a warning that is known by its number alone. Every other warning is an error. */
static int
read_header(TarReader *reader, struct archive_entry **ret_entry)
{
  locale_t old = uselocale(reader->locale);
  int result;

  reader->headers_left = HEADERS_MAX;
  result = archive_read_next_header(reader->archive, ret_entry);
  reader->headers_left = -1;
  uselocale(old);
  if (result == ARCHIVE_WARN && archive_errno(reader->archive) == EILSEQ)
    return ARCHIVE_OK;
  return result;
}

/* At the end, which libarchive sees in one block of zeros: archive/tar wants a second, or nothing
 * more at all. */
static gboolean
check_end(const TarReader *reader, guint64 start, GError **error)
{
  guint64 position = stream_position(reader);

  if (position - start == BLOCK_SIZE && reader->given > position)
    return invalid(error, "a tar archive with a lone block of zeros in its middle");
  return TRUE;
}

gboolean
tar_reader_next(TarReader *reader, const TarEntry **ret_entry, GError **error)
{
  struct archive_entry *from;
  guint64 position;
  int result;

  if (reader->archive == NULL && !stream_open(reader, error))
    return FALSE;
  if (!skip_content(reader, error))
    return FALSE;
  position = stream_position(reader);
  result = read_header(reader, &from);
  if (result == ARCHIVE_EOF && reader->error == NULL) {
    *ret_entry = NULL;
    return check_end(reader, position, error);
  }
  if (result != ARCHIVE_OK)
    return error_archive(reader, error);
  reader->start = stream_position(reader);
  if (reader->start > reader->end)
    return error_cut_off(error);
  if (!entry_read(reader, from, error))
    return FALSE;
  *ret_entry = &reader->entry;
  return TRUE;
}

/* ------------------------------------------------------------- the content --- */

gboolean
tar_reader_read(TarReader *reader, const guint8 **ret_piece, gsize *ret_size, guint64 *ret_offset,
                GError **error)
{
  const void *piece;
  size_t size;
  la_int64_t offset;
  int result = archive_read_data_block(reader->archive, &piece, &size, &offset);

  if (result == ARCHIVE_EOF && reader->error == NULL) {
    *ret_size = 0;
    return reader->done == reader->content || (reader->done == 0 && reader->all_holes) ||
           error_length(reader, error);
  }
  if (result != ARCHIVE_OK)
    return error_archive(reader, error);
  if (offset < 0 || (guint64)offset < reader->offset || (guint64)offset > reader->entry.size ||
      size > reader->entry.size - (guint64)offset)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a malformed map of a sparse file in a tar");
  if (stream_position(reader) + size > reader->end)
    return error_cut_off(error);
  reader->done += size;
  reader->offset = (guint64)offset + size;
  *ret_piece = piece;
  *ret_size = size;
  *ret_offset = (guint64)offset;
  return TRUE;
}
