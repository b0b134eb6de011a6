/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "source-files.h"
#include "decompress.h"
#include "hash.h"
#include "scratch.h"
#include "tar-reader.h"
#include "util.h"

#include <limits.h>
#include <linux/openat2.h>
#include <string.h>

/* Entries of an archive: an image has as many layers and a few files more. */
#define ARCHIVE_ENTRIES_MAX 100000
#define INDEX_READ_SIZE (64 * 1024)
#define COPY_SIZE (256 * 1024)
/* Symlinks that lead from one file of the archive to another (older docker save). */
#define SYMLINKS_MAX 8

typedef struct {
  guint64 offset, size;
  char *link; /* a symlink's target, as a name of the archive; else NULL */
} Member;

struct SourceFiles {
  char *path;
  int fd;              /* the directory or the archive */
  GHashTable *members; /* name -> Member; NULL: a directory */
  GArray *fds;         /* of int: files that were opened */
};

static void
member_free(gpointer data)
{
  Member *member = data;

  g_free(member->link);
  g_free(member);
}

void
source_files_free(SourceFiles *files)
{
  if (files == NULL)
    return;
  for (guint i = 0; i < files->fds->len; i++)
    close(g_array_index(files->fds, int, i));
  g_array_unref(files->fds);
  g_clear_pointer(&files->members, g_hash_table_unref);
  util_close_fd(&files->fd);
  g_free(files->path);
  g_free(files);
}

static SourceFiles *
files_new(const char *path, int flags, GError **error)
{
  g_autoptr(SourceFiles) files = g_new0(SourceFiles, 1);

  files->path = g_strdup(path);
  files->fds = g_array_new(FALSE, FALSE, sizeof(int));
  files->fd = open(path, O_RDONLY | O_CLOEXEC | flags);
  if (files->fd < 0) {
    util_error_errno(error, "open %s", path);
    return NULL;
  }
  return g_steal_pointer(&files);
}

SourceFiles *
source_files_open_directory(const char *path, GError **error)
{
  return files_new(path, O_DIRECTORY, error);
}

/* Reading an archive for its index alone. */
typedef struct {
  int fd;
  guint64 offset;
  guint8 buffer[INDEX_READ_SIZE];
} IndexInput;

static gboolean
index_fill(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  IndexInput *input = data;
  ssize_t size;

  do
    size = pread(input->fd, input->buffer, sizeof input->buffer, (off_t)input->offset);
  while (size < 0 && errno == EINTR);
  if (size < 0)
    return util_error_errno(error, "read");
  input->offset += (guint64)size;
  *ret_piece = input->buffer;
  *ret_size = (gsize)size;
  return TRUE;
}

static gboolean
index_skip(void *data, guint64 count, GError **error)
{
  IndexInput *input = data;

  if (count > G_MAXINT64 - input->offset)
    return util_error(error, NIXSTORE_ERROR_INVALID, "the tar archive is cut off");
  input->offset += count;
  return TRUE;
}

/* "./a//b/" -> "a/b"; ".." takes a component off, at the top none. */
static char *
clean_name(const char *directory, const char *name)
{
  g_autofree char *joined = g_strconcat("/", *name == '/' ? "" : directory, "/", name, NULL);
  g_autofree char *absolute = g_canonicalize_filename(joined, "/");

  return g_strdup(absolute + 1);
}

static gboolean
add_member(SourceFiles *files, const TarReader *reader, const TarEntry *entry, GError **error)
{
  char *name;
  Member *member;

  /* All names are kept until the image is through. */
  if (strlen(entry->path) >= PATH_MAX || strlen(entry->link) >= PATH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "an archive with a name of %d bytes or more",
                      PATH_MAX);
  if (entry->type != TAR_FILE && entry->type != TAR_SYMLINK && entry->type != TAR_HARDLINK)
    return TRUE;
  name = clean_name("", entry->path);
  member = g_new0(Member, 1);
  member->offset = tar_reader_position(reader);
  member->size = entry->size;
  if (entry->type == TAR_SYMLINK) {
    g_autofree char *directory = g_path_get_dirname(name);
    member->link = clean_name(directory, entry->link);
  } else if (entry->type == TAR_HARDLINK) {
    member->link = clean_name("", entry->link);
  }
  g_hash_table_replace(files->members, name, member);
  return TRUE;
}

static gboolean
index_archive(SourceFiles *files, GError **error)
{
  g_autofree IndexInput *input = g_new(IndexInput, 1);
  g_autoptr(TarReader) reader = tar_reader_new(index_fill, index_skip, input);

  files->members = g_hash_table_new_full(hash_string, g_str_equal, g_free, member_free);
  input->fd = files->fd;
  input->offset = 0;
  for (;;) {
    const TarEntry *entry;

    if (!tar_reader_next(reader, &entry, error))
      return FALSE;
    if (entry == NULL)
      return TRUE;
    if (g_hash_table_size(files->members) >= ARCHIVE_ENTRIES_MAX)
      return util_error(error, NIXSTORE_ERROR_INVALID, "an archive of more than %d files",
                        ARCHIVE_ENTRIES_MAX);
    if (entry->sparse)
      return util_error(error, NIXSTORE_ERROR_INVALID, "%s is a sparse file", entry->path);
    if (!add_member(files, reader, entry, error))
      return FALSE;
  }
}

static void
tick(const SourceOptions *options, guint64 done, guint64 total)
{
  if (options->tick != NULL)
    options->tick(options->tick_data, done, total);
}

/* Replaces what can be read but once by a copy. */
static gboolean
copy_pipe(SourceFiles *files, const SourceOptions *options, GError **error)
{
  g_autofree guint8 *buffer = g_malloc(COPY_SIZE);
  autofd int fd = scratch_open_file(error);
  guint64 total = 0;

  if (fd < 0)
    return FALSE;
  for (;;) {
    ssize_t size = read(files->fd, buffer, COPY_SIZE);

    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0)
      return util_error_errno(error, "read");
    if (size == 0)
      break;
    total += (guint64)size;
    tick(options, total, 0);
    if (options->max_size != 0 && total > options->max_size)
      return util_error(error, NIXSTORE_ERROR_INVALID,
                        "more than %" G_GUINT64_FORMAT
                        " bytes come out of it: --max-size allows more",
                        options->max_size);
    if (!util_write_all(fd, buffer, (gsize)size))
      return util_error_errno(error, "write a copy of it to a temporary file");
  }
  if (total == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "nothing came out of it");
  util_close_fd(&files->fd);
  files->fd = util_steal_fd(&fd);
  return TRUE;
}

typedef struct {
  const SourceOptions *options;
  guint64 total;
} Ticking;

static void
tick_stream(void *data, guint64 consumed)
{
  const Ticking *it = data;

  tick(it->options, consumed, it->total);
}

/* Replaces @files's archive by its decompressed self. */
static gboolean
decompress_archive(SourceFiles *files, const SourceOptions *options, GError **error)
{
  Blob blob = {.fd = files->fd};
  Ticking ticking = {.options = options};
  BlobBudget budget = {.max_size = options->max_size, .tick = tick_stream, .tick_data = &ticking};
  g_autoptr(BlobStream) stream = NULL;
  autofd int fd = scratch_open_file(error);
  const guint8 *piece;
  gsize piece_size;
  struct stat st;

  if (fd < 0)
    return FALSE;
  if (fstat(files->fd, &st) < 0)
    return util_error_errno(error, "stat");
  blob.size = ticking.total = (guint64)st.st_size;
  stream = blob_stream_new(&blob, &budget);
  for (;;) {
    if (!blob_stream_next(stream, &piece, &piece_size, error))
      return FALSE;
    if (piece_size == 0)
      break;
    if (!util_write_all(fd, piece, piece_size))
      return util_error_errno(error, "write its decompressed copy");
  }
  g_clear_pointer(&stream, blob_stream_free);
  util_close_fd(&files->fd);
  files->fd = util_steal_fd(&fd);
  return TRUE;
}

/* Whether the archive is compressed as a whole, in a way that we know. */
static gboolean
find_compression(const SourceFiles *files, gboolean *ret_compressed, GError **error)
{
  guint8 magic[6];
  Decompress *decompress;
  ssize_t size = pread(files->fd, magic, sizeof magic, 0);

  if (size < 0)
    return util_error_errno(error, "read");
  decompress = decompress_new(magic, (gsize)size, error);
  if (decompress == NULL)
    return FALSE;
  *ret_compressed = !decompress_is_plain(decompress);
  decompress_free(decompress);
  return TRUE;
}

static gboolean
open_archive(SourceFiles *files, const SourceOptions *options, GError **error)
{
  gboolean compressed = FALSE;
  struct stat st;

  if (fstat(files->fd, &st) < 0)
    return util_error_errno(error, "stat");
  if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
    return util_error(error, NIXSTORE_ERROR_INVALID, "neither a regular file nor a pipe");
  if (S_ISFIFO(st.st_mode) && !copy_pipe(files, options, error))
    return FALSE;
  if (!find_compression(files, &compressed, error) ||
      (compressed && !decompress_archive(files, options, error)))
    return FALSE;
  return index_archive(files, error);
}

SourceFiles *
source_files_open_archive(const char *path, const SourceOptions *options, GError **error)
{
  g_autoptr(SourceFiles) files = files_new(path, 0, error);

  if (files == NULL)
    return NULL;
  if (!open_archive(files, options, error)) {
    g_prefix_error(error, "%s: ", path);
    return NULL;
  }
  return g_steal_pointer(&files);
}

static gboolean
error_missing(const SourceFiles *files, const char *name, GError **error)
{
  return util_error(error, NIXSTORE_ERROR_NOT_FOUND, "%s has no %s", files->path, name);
}

static Blob *
find_member(SourceFiles *files, const char *name, GError **error)
{
  g_autofree char *clean = clean_name("", name);
  const Member *member = g_hash_table_lookup(files->members, clean);
  Blob *blob;

  for (int links = 0; member != NULL && member->link != NULL; links++)
    member = links < SYMLINKS_MAX ? g_hash_table_lookup(files->members, member->link) : NULL;
  if (member == NULL) {
    error_missing(files, name, error);
    return NULL;
  }
  blob = g_new0(Blob, 1);
  blob->fd = files->fd;
  blob->offset = member->offset;
  blob->size = member->size;
  return blob;
}

Blob *
source_files_find(SourceFiles *files, const char *name, GError **error)
{
  autofd int fd = -1;
  struct stat st;
  Blob *blob;

  if (files->members != NULL)
    return find_member(files, name, error);
  fd = util_openat2(files->fd, name, O_RDONLY | O_NONBLOCK, 0, RESOLVE_BENEATH);
  if (fd < 0 && errno == ENOENT) {
    error_missing(files, name, error);
    return NULL;
  }
  if (fd < 0 || fstat(fd, &st) < 0) {
    util_error_errno(error, "open %s/%s", files->path, name);
    return NULL;
  }
  if (!S_ISREG(st.st_mode)) {
    util_error(error, NIXSTORE_ERROR_INVALID, "%s/%s is not a regular file", files->path, name);
    return NULL;
  }
  blob = g_new0(Blob, 1);
  blob->fd = util_steal_fd(&fd);
  blob->size = (guint64)st.st_size;
  g_array_append_val(files->fds, blob->fd);
  return blob;
}

char *
source_files_read(SourceFiles *files, const char *name, gsize max, gsize *ret_size, GError **error)
{
  g_autoptr(Blob) blob = source_files_find(files, name, error);
  char *data;

  if (blob == NULL)
    return NULL;
  data = blob_read(blob, max, ret_size, error);
  if (data == NULL)
    g_prefix_error(error, "%s: %s: ", files->path, name);
  return data;
}
