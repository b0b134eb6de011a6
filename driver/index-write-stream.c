/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-write.h"

#include <openssl/evp.h>
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
  stream->digest = EVP_MD_CTX_new();
  if (stream->digest == NULL || EVP_DigestInit_ex(stream->digest, EVP_sha256(), NULL) != 1)
    stream->error = ENOMEM;
}

void
index_stream_clear(IndexStream *stream)
{
  g_clear_pointer(&stream->buffer, g_free);
  g_clear_pointer((EVP_MD_CTX **)&stream->digest, EVP_MD_CTX_free);
}

static void
stream_flush(IndexStream *stream)
{
  gsize done = 0;

  if (stream->error == 0 && EVP_DigestUpdate(stream->digest, stream->buffer, stream->used) != 1)
    stream->error = EIO;
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
  if (stream->error == 0 && EVP_DigestFinal_ex(stream->digest, ret_digest, NULL) != 1)
    stream->error = EIO;
  return stream->error;
}
