/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "gzip-writer.h"

#include <string.h>
#include <zlib.h>

#define LEVEL 6
#define MAX_THREADS 16
/* Each block starts without a dictionary; at this size that costs less than a percent. */
#define BLOCK_SIZE (512 * 1024)
/* zlib's window bits that say "no header". */
#define RAW_WINDOW_BITS (-15)

typedef struct {
  guint8 *in;
  gsize in_size;
  guint8 *out;
  gsize out_size;
  guint32 crc;
  gboolean is_done; /* under the writer's lock */
} Block;

struct GzipWriter {
  GzipPut put;
  gpointer data;
  GThreadPool *pool;
  GQueue blocks; /* of Block, in order, those that are being compressed and not yet put */
  guint max_blocks;
  Block *filling;
  GMutex lock;
  GCond done;
  guint32 crc;
  guint64 size;
};

static void
block_free(Block *block)
{
  if (!block)
    return;
  g_free(block->in);
  g_free(block->out);
  g_free(block);
}

/* Ends at a byte's boundary, and is not the stream's last (Z_SYNC_FLUSH): blocks can be joined. */
static void
block_compress(gpointer item, gpointer data)
{
  Block *block = item;
  GzipWriter *writer = data;
  z_stream stream = {0};
  if (deflateInit2(&stream, LEVEL, Z_DEFLATED, RAW_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    g_error("zlib cannot start: out of memory");
  /* deflateBound() is for Z_FINISH; the flush adds an empty stored block. */
  gsize room = deflateBound(&stream, (uLong)block->in_size) + 16;
  block->out = g_malloc(room);
  stream.next_in = block->in;
  stream.avail_in = (uInt)block->in_size;
  stream.next_out = block->out;
  stream.avail_out = (uInt)room;
  int result = deflate(&stream, Z_SYNC_FLUSH);
  g_assert(result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0);
  block->out_size = room - stream.avail_out;
  block->crc = (guint32)crc32(0, block->in, (uInt)block->in_size);
  deflateEnd(&stream);

  g_mutex_lock(&writer->lock);
  block->is_done = TRUE;
  g_cond_broadcast(&writer->done);
  g_mutex_unlock(&writer->lock);
}

GzipWriter *
gzip_writer_new(GzipPut put, gpointer data)
{
  GzipWriter *writer = g_new0(GzipWriter, 1);
  guint processors = MIN(g_get_num_processors(), MAX_THREADS);
  writer->put = put;
  writer->data = data;
  writer->max_blocks = 2 * processors;
  writer->pool = g_thread_pool_new(block_compress, writer, (int)processors, FALSE, NULL);
  g_mutex_init(&writer->lock);
  g_cond_init(&writer->done);
  g_queue_init(&writer->blocks);
  writer->crc = (guint32)crc32(0, NULL, 0);
  return writer;
}

void
gzip_writer_free(GzipWriter *writer)
{
  if (!writer)
    return;
  /* What is queued is compressed for nothing; it is no more than a few blocks. */
  g_thread_pool_free(writer->pool, FALSE, TRUE);
  g_queue_clear_full(&writer->blocks, (GDestroyNotify)block_free);
  block_free(writer->filling);
  g_mutex_clear(&writer->lock);
  g_cond_clear(&writer->done);
  g_free(writer);
}

/* Puts the first of the blocks out, once it is compressed. */
static gboolean
put_first(GzipWriter *writer, GError **error)
{
  Block *block = g_queue_pop_head(&writer->blocks);
  g_mutex_lock(&writer->lock);
  while (!block->is_done)
    g_cond_wait(&writer->done, &writer->lock);
  g_mutex_unlock(&writer->lock);
  writer->crc = (guint32)crc32_combine(writer->crc, block->crc, (z_off_t)block->in_size);
  gboolean ok = writer->put(writer->data, block->out, block->out_size, error);
  block_free(block);
  return ok;
}

static gboolean
queue_block(GzipWriter *writer, GError **error)
{
  static const guint8 header[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 /* Unix */};
  if (writer->size == 0 && !writer->put(writer->data, header, sizeof header, error))
    return FALSE;
  Block *block = g_steal_pointer(&writer->filling);
  if (!block)
    return TRUE;
  writer->size += block->in_size;
  g_queue_push_tail(&writer->blocks, block);
  g_thread_pool_push(writer->pool, block, NULL);
  return g_queue_get_length(&writer->blocks) < writer->max_blocks || put_first(writer, error);
}

gboolean
gzip_writer_write(GzipWriter *writer, const void *bytes, gsize size, GError **error)
{
  const guint8 *from = bytes;
  while (size > 0) {
    if (!writer->filling) {
      writer->filling = g_new0(Block, 1);
      writer->filling->in = g_malloc(BLOCK_SIZE);
    }
    Block *block = writer->filling;
    gsize part = MIN(size, BLOCK_SIZE - block->in_size);
    memcpy(block->in + block->in_size, from, part);
    block->in_size += part;
    from += part;
    size -= part;
    if (block->in_size == BLOCK_SIZE && !queue_block(writer, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
gzip_writer_finish(GzipWriter *writer, GError **error)
{
  if ((writer->filling || writer->size == 0) && !queue_block(writer, error))
    return FALSE;
  while (!g_queue_is_empty(&writer->blocks))
    if (!put_first(writer, error))
      return FALSE;
  /* The last block, empty and with fixed codes; then CRC and size. */
  guint8 end[10] = {3, 0};
  guint32 crc = GUINT32_TO_LE(writer->crc);
  guint32 size = GUINT32_TO_LE((guint32)writer->size);
  memcpy(end + 2, &crc, 4);
  memcpy(end + 6, &size, 4);
  return writer->put(writer->data, end, sizeof end, error);
}
