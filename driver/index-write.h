/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the parts of the index writer share; nobody else includes it. Stands on tree and util.
 */
#pragma once

#include "tree.h"

/* The overlayfs xattrs that lead a file to its content. */
#define INDEX_XATTR_METACOPY "trusted.overlay.metacopy"
#define INDEX_XATTR_REDIRECT "trusted.overlay.redirect"
#define INDEX_XATTR_OVERLAY "trusted.overlay."

/* The xattrs of a whole tree: which stand beside their inode and which, occurring often or being
 * large, are shared. Borrows the tree's xattrs: the tree must not change meanwhile. */
typedef struct IndexXattrs IndexXattrs;

IndexXattrs *index_xattrs_new(void);
void index_xattrs_free(IndexXattrs *xattrs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IndexXattrs, index_xattrs_free)

/* First every inode is counted, once. UNSUPPORTED for an xattr that EROFS cannot hold. */
gboolean index_xattrs_count(IndexXattrs *xattrs, const TreeInode *inode, GError **error);
/* Then it is settled which are shared. Returns the size of the shared area in bytes. */
gsize index_xattrs_settle(IndexXattrs *xattrs);
/* Whether any inode has one of the image's own. */
gboolean index_xattrs_any(const IndexXattrs *xattrs);

/* Bytes that the xattrs of @inode take after it (a multiple of 4, 0 when it has none); with
 * @redirect_size > 0 those of a file with content too. More than EROFS_XATTR_MAX_SIZE cannot be
 * stored. */
gsize index_xattrs_measure(IndexXattrs *xattrs, const TreeInode *inode, gsize redirect_size);
/* Writes them to @out, zeroed and of the measured size. */
void index_xattrs_store(IndexXattrs *xattrs, const TreeInode *inode, const char *redirect,
                        gsize redirect_size, guint8 *out);
/* Writes the shared area to @out, zeroed and of the settled size. */
void index_xattrs_store_shared(IndexXattrs *xattrs, guint8 *out);

/* A file written front to back through a buffer; the first error stays and silences the rest. */
typedef struct {
  int fd;
  int error;      /* errno */
  guint64 offset; /* in the file, of the buffer's start */
  gsize used;
  guint8 *buffer;
  guint64 digest[2]; /* of all that was written */
} IndexStream;

#define INDEX_STREAM_MAX_RESERVE (512 * 1024)
#define INDEX_DIGEST_SIZE 16

void index_stream_init(IndexStream *stream, int fd, guint64 offset);
void index_stream_clear(IndexStream *stream);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(IndexStream, index_stream_clear)

/* @size zeroed bytes (at most INDEX_STREAM_MAX_RESERVE) for the caller to fill before the next
 * call. */
guint8 *index_stream_reserve(IndexStream *stream, gsize size);
/* Zeroes up to @offset of the file. */
void index_stream_pad(IndexStream *stream, guint64 offset);
/* Where in the file the next byte goes. */
static inline guint64
index_stream_tell(const IndexStream *stream)
{
  return stream->offset + stream->used;
}
/* Writes what is buffered. Returns 0 or an errno; *ret_digest (INDEX_DIGEST_SIZE bytes) differs for
 * different bytes, though not against an adversary. */
int index_stream_finish(IndexStream *stream, guint8 *ret_digest);

/* Directories. The bytes of @dir's entries as i_size counts them: whole blocks, then what the last
 * one uses. */
guint64 index_dir_measure(TreeNode *dir);
/* As every Unix file system counts: 2 and one for each subdirectory. */
guint32 index_dir_link_count(TreeNode *dir);
/* Writes the entries as whole blocks. */
void index_dir_store(TreeNode *dir, IndexStream *stream);
/* Writes the entries, which fit into one block, to @out, of the measured size. */
void index_dir_store_inline(TreeNode *dir, guint8 *out);
