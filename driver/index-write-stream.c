/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-write.h"

#include <string.h>

#include "util.h"

#define BUFFER_SIZE (2 * INDEX_STREAM_MAX_RESERVE)

void
index_stream_init(IndexStream *stream, int fd, guint64 offset)
{
  stream->fd = fd;
  stream->error = 0;
  stream->offset = offset;
  stream->used = 0;
  stream->buffer = g_malloc(BUFFER_SIZE);
  stream->digest[0] = G_GUINT64_CONSTANT(0x243f6a8885a308d3);
  stream->digest[1] = G_GUINT64_CONSTANT(0x13198a2e03707344);
}

void
index_stream_clear(IndexStream *stream)
{
  g_clear_pointer(&stream->buffer, g_free);
}

/* Tells one index from another, which is all that a UUID is for: nothing is trusted because of it,
 * so it need not be cryptographic, and nixstore-mount starts without a crypto library. */
static void
stream_digest(guint64 digest[2], const guint8 *data, gsize size)
{
  for (gsize i = 0; i < size; i += 16) {
    guint64 words[2] = {0, 0};
    memcpy(words, data + i, MIN(size - i, sizeof words));
    digest[0] = (digest[0] ^ GUINT64_FROM_LE(words[0])) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    digest[0] ^= digest[0] >> 32;
    digest[1] = (digest[1] ^ GUINT64_FROM_LE(words[1])) * G_GUINT64_CONSTANT(0xc2b2ae3d27d4eb4f);
    digest[1] ^= (digest[1] >> 29) + digest[0];
  }
}

static void
stream_flush(IndexStream *stream)
{
  gsize done = 0;

  stream_digest(stream->digest, stream->buffer, stream->used);
  while (stream->error == 0 && done < stream->used) {
    ssize_t n = pwrite(stream->fd, stream->buffer + done, stream->used - done,
                       (off_t)(stream->offset + done));
    if (n > 0)
      done += (gsize)n;
    else if (n == 0 || errno != EINTR)
      stream->error = n == 0 ? EIO : errno;
  }
  stream->offset += stream->used;
  stream->used = 0;
}

guint8 *
index_stream_reserve(IndexStream *stream, gsize size)
{
  guint8 *space;

  g_assert(size <= INDEX_STREAM_MAX_RESERVE);
  if (BUFFER_SIZE - stream->used < size)
    stream_flush(stream);
  space = stream->buffer + stream->used;
  memset(space, 0, size);
  stream->used += size;
  return space;
}

void
index_stream_pad(IndexStream *stream, guint64 offset)
{
  g_assert(offset >= index_stream_tell(stream));
  index_stream_reserve(stream, offset - index_stream_tell(stream));
}

int
index_stream_finish(IndexStream *stream, guint8 *ret_digest)
{
  stream_flush(stream);
  for (guint i = 0; i < INDEX_DIGEST_SIZE; i++)
    ret_digest[i] = (guint8)(stream->digest[i / 8] >> (i % 8 * 8));
  return stream->error;
}
