/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "blob.h"
#include "decompress.h"
#include "util.h"

#include <openssl/evp.h>
#include <string.h>

/* A stream reads this much at a time, and is as many pieces ahead of its reader at most. */
#define INPUT_SIZE (256 * 1024)
#define PIECE_SIZE (256 * 1024)
#define PIECES 12

#define DIGEST_PREFIX "sha256:"

void
blob_free(Blob *blob)
{
  if (blob == NULL)
    return;
  g_free(blob->digest);
  g_free(blob->diff_id);
  g_free(blob);
}

/* "sha256:<hex>" of what @context was fed. */
static char *
digest_finish(EVP_MD_CTX *context)
{
  guchar hash[EVP_MAX_MD_SIZE];
  guint size = 0;
  GString *text = g_string_new(DIGEST_PREFIX);

  EVP_DigestFinal_ex(context, hash, &size);
  for (guint i = 0; i < size; i++)
    g_string_append_printf(text, "%02x", hash[i]);
  return g_string_free(text, FALSE);
}

static gboolean
digest_check(const char *what, const char *expected, const char *found, GError **error)
{
  if (expected == NULL || strcmp(expected, found) == 0)
    return TRUE;
  return util_error(error, NIXSTORE_ERROR_INVALID, "its %s is %s, not %s", what, found, expected);
}

/* Fills @buffer from @offset of the blob on. Less than the whole file has is an error. */
static gboolean
blob_pread(const Blob *blob, void *buffer, gsize size, guint64 offset, GError **error)
{
  gsize have = 0;

  while (have < size) {
    ssize_t got =
        pread(blob->fd, (char *)buffer + have, size - have, (off_t)(blob->offset + offset + have));

    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return util_error_errno(error, "read");
    if (got == 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "the file is cut off");
    have += (gsize)got;
  }
  return TRUE;
}

char *
blob_read(const Blob *blob, gsize max, gsize *ret_size, GError **error)
{
  g_autofree char *data = NULL, *hex = NULL, *found = NULL;

  if (blob->size > max) {
    util_error(error, NIXSTORE_ERROR_INVALID, "it has more than %" G_GSIZE_FORMAT " bytes", max);
    return NULL;
  }
  data = g_malloc(blob->size + 1);
  if (!blob_pread(blob, data, blob->size, 0, error))
    return NULL;
  data[blob->size] = '\0';
  hex = util_sha256_hex(data, blob->size);
  found = g_strconcat(DIGEST_PREFIX, hex, NULL);
  if (!digest_check("digest", blob->digest, found, error))
    return NULL;
  *ret_size = blob->size;
  return g_steal_pointer(&data);
}

gboolean
blob_budget_take(BlobBudget *budget, guint64 size, GError **error)
{
  guint64 total = __atomic_add_fetch(&budget->decompressed, size, __ATOMIC_RELAXED);

  if (budget->max_size == 0 || (total <= budget->max_size && size <= budget->max_size))
    return TRUE;
  return util_error(error, NIXSTORE_ERROR_INVALID,
                    "the image decompresses to more than %" G_GUINT64_FORMAT
                    " bytes: --max-size allows more",
                    budget->max_size);
}

typedef struct {
  guint8 *data;
  gsize size;
} Piece;

struct BlobStream {
  const Blob *blob;
  BlobBudget *budget;
  GThread *thread;

  /* A ring: the thread fills, the reader empties. */
  GMutex lock;
  GCond changed;
  Piece pieces[PIECES]; /* data: set up once; those between @taken and @filled are the reader's */
  guint filled;         /* pieces that the thread has filled ever; under lock */
  guint taken;          /* pieces that the reader is through with; under lock */
  gboolean ended;       /* the thread fills no more; under lock */
  gboolean stop;        /* the reader wants no more; under lock */
  GError *error;        /* why it ended; NULL: all is well; under lock */

  gboolean holding; /* the reader's own: it has the piece @taken */
};

/* The thread's own state. */
typedef struct {
  BlobStream *stream;
  Decompress *decompress;
  EVP_MD_CTX *digest, *diff_id;
  guint8 *input;
  guint64 offset; /* in the blob */
} Worker;

/* Waits for a free piece. NULL: the reader wants no more. */
static Piece *
worker_get_piece(Worker *worker)
{
  BlobStream *stream = worker->stream;
  Piece *piece = NULL;

  g_mutex_lock(&stream->lock);
  while (!stream->stop && stream->filled - stream->taken == PIECES)
    g_cond_wait(&stream->changed, &stream->lock);
  if (!stream->stop)
    piece = &stream->pieces[stream->filled % PIECES];
  g_mutex_unlock(&stream->lock);
  if (piece != NULL && piece->data == NULL)
    piece->data = g_malloc(PIECE_SIZE);
  return piece;
}

static gboolean
worker_put_piece(Worker *worker, Piece *piece, GError **error)
{
  BlobStream *stream = worker->stream;

  if (piece->size == 0)
    return TRUE;
  if (!blob_budget_take(stream->budget, piece->size, error))
    return FALSE;
  g_mutex_lock(&stream->lock);
  stream->filled++;
  g_cond_signal(&stream->changed);
  g_mutex_unlock(&stream->lock);
  /* Hashed while the reader has it already: it only reads, and so does this. */
  EVP_DigestUpdate(worker->diff_id, piece->data, piece->size);
  return TRUE;
}

/* Reads the next stretch of the blob. *ret_size 0 at its end. */
static gboolean
worker_read(Worker *worker, gsize *ret_size, GError **error)
{
  const Blob *blob = worker->stream->blob;
  BlobBudget *budget = worker->stream->budget;
  gsize size = (gsize)MIN(INPUT_SIZE, blob->size - worker->offset);
  guint64 consumed;

  if (!blob_pread(blob, worker->input, size, worker->offset, error))
    return FALSE;
  EVP_DigestUpdate(worker->digest, worker->input, size);
  worker->offset += size;
  consumed = __atomic_add_fetch(&budget->consumed, size, __ATOMIC_RELAXED);
  if (budget->tick != NULL)
    budget->tick(budget->tick_data, consumed);
  *ret_size = size;
  return TRUE;
}

/* Decompresses all of the blob into pieces. *ret_stopped: the reader wants no more. */
static gboolean
worker_pump(Worker *worker, gboolean *ret_stopped, GError **error)
{
  Piece *piece = NULL;
  gsize input_size = 0;

  do {
    const guint8 *input = worker->input;
    gsize size;

    if (!worker_read(worker, &input_size, error))
      return FALSE;
    if (worker->decompress == NULL) {
      worker->decompress = decompress_new(input, input_size, error);
      if (worker->decompress == NULL)
        return FALSE;
    }
    do {
      gsize room;

      if (piece == NULL) {
        piece = worker_get_piece(worker);
        if (piece == NULL) {
          *ret_stopped = TRUE;
          return TRUE;
        }
        piece->size = 0;
      }
      room = PIECE_SIZE - piece->size;
      if (!decompress_run(worker->decompress, &input, &input_size, piece->data + piece->size, room,
                          &size, error))
        return FALSE;
      piece->size += size;
      if (piece->size < PIECE_SIZE)
        break;
      if (!worker_put_piece(worker, piece, error))
        return FALSE;
      piece = NULL;
    } while (TRUE);
  } while (worker->offset < worker->stream->blob->size);
  if (!decompress_is_complete(worker->decompress))
    return util_error(error, NIXSTORE_ERROR_INVALID, "its compressed data is cut off");
  return piece == NULL || worker_put_piece(worker, piece, error);
}

static gboolean
worker_run(Worker *worker, GError **error)
{
  const Blob *blob = worker->stream->blob;
  g_autofree char *digest = NULL, *diff_id = NULL;
  gboolean stopped = FALSE;

  if (!worker_pump(worker, &stopped, error))
    return FALSE;
  if (stopped)
    return TRUE;
  digest = digest_finish(worker->digest);
  diff_id = digest_finish(worker->diff_id);
  return digest_check("digest", blob->digest, digest, error) &&
         digest_check("diff ID", blob->diff_id, diff_id, error);
}

static gpointer
worker_thread(gpointer data)
{
  BlobStream *stream = data;
  Worker worker = {.stream = stream};
  GError *error = NULL;

  worker.input = g_malloc(INPUT_SIZE);
  worker.digest = EVP_MD_CTX_new();
  worker.diff_id = EVP_MD_CTX_new();
  EVP_DigestInit_ex(worker.digest, EVP_sha256(), NULL);
  EVP_DigestInit_ex(worker.diff_id, EVP_sha256(), NULL);
  worker_run(&worker, &error);
  EVP_MD_CTX_free(worker.digest);
  EVP_MD_CTX_free(worker.diff_id);
  decompress_free(worker.decompress);
  g_free(worker.input);

  g_mutex_lock(&stream->lock);
  stream->ended = TRUE;
  stream->error = error;
  g_cond_signal(&stream->changed);
  g_mutex_unlock(&stream->lock);
  return NULL;
}

BlobStream *
blob_stream_new(const Blob *blob, BlobBudget *budget)
{
  BlobStream *stream = g_new0(BlobStream, 1);

  stream->blob = blob;
  stream->budget = budget;
  g_mutex_init(&stream->lock);
  g_cond_init(&stream->changed);
  stream->thread = g_thread_new("blob", worker_thread, stream);
  return stream;
}

void
blob_stream_free(BlobStream *stream)
{
  if (stream == NULL)
    return;
  g_mutex_lock(&stream->lock);
  stream->stop = TRUE;
  g_cond_signal(&stream->changed);
  g_mutex_unlock(&stream->lock);
  g_thread_join(stream->thread);
  g_mutex_clear(&stream->lock);
  g_cond_clear(&stream->changed);
  for (int i = 0; i < PIECES; i++)
    g_free(stream->pieces[i].data);
  g_clear_error(&stream->error);
  g_free(stream);
}

gboolean
blob_stream_next(BlobStream *stream, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  const Piece *piece = NULL;
  gboolean ok = TRUE;

  g_mutex_lock(&stream->lock);
  if (stream->holding) {
    stream->taken++;
    stream->holding = FALSE;
    g_cond_signal(&stream->changed);
  }
  while (!stream->ended && stream->filled == stream->taken)
    g_cond_wait(&stream->changed, &stream->lock);
  if (stream->filled != stream->taken) {
    piece = &stream->pieces[stream->taken % PIECES];
    stream->holding = TRUE;
  } else if (stream->error != NULL) {
    g_propagate_error(error, g_error_copy(stream->error));
    ok = FALSE;
  }
  g_mutex_unlock(&stream->lock);
  if (!ok)
    return FALSE;
  *ret_piece = piece != NULL ? piece->data : NULL;
  *ret_size = piece != NULL ? piece->size : 0;
  return TRUE;
}

gboolean
blob_stream_drain(BlobStream *stream, GError **error)
{
  const guint8 *piece;
  gsize size;

  do
    if (!blob_stream_next(stream, &piece, &size, error))
      return FALSE;
  while (size > 0);
  return TRUE;
}
