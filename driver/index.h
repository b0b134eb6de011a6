/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The index: a metadata-only EROFS image of a tree, in the manner of composefs. Every inode with
 * its owner, mode, times, xattrs, device number and link count; a regular file with content has its
 * size, a chunk map of holes and the xattrs trusted.overlay.metacopy (empty) and
 * trusted.overlay.redirect (where its content is in the data-only layers). On-disk format: the
 * kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. The same tree gives the
 * same bytes. Stands on tree and util.
 */
#pragma once

#include "tree.h"

/* Changes whenever the bytes for the same tree do: part of the cache's keys. */
#define INDEX_FORMAT_VERSION 2

/* Writes the index of @tree to @fd (an empty regular file, opened for reading and writing). Sets
 * the inodes' nid fields. A redirect is "/" content_path, or the inode's first name in tree order
 * where that is NULL; with @n_prefixes > 0 it is preceded by @prefixes[content_layer]
 * ("/<id>/diff"), which is how several content directories share data-only layers. xattrs of the
 * image that overlayfs would obey (trusted.overlay.*) are escaped as the kernel's
 * Documentation/filesystems/overlayfs.rst says ("Nesting overlayfs mounts"); user.overlay.* means
 * nothing to a mount without the option userxattr and is kept as it is, so an index must not stand
 * beneath a mount with it. Does not fsync; after a failure the file is no index. INVALID for what
 * no image can hold (a device 0:0, a symlink without a target), UNSUPPORTED for what EROFS or
 * overlayfs cannot: an xattr outside user., trusted., security. and the POSIX ACLs, one over 65535
 * bytes, a redirect of PATH_MAX bytes. */
gboolean index_write(Tree *tree, int fd, const char *const *prefixes, gsize n_prefixes,
                     GError **error);

/* An index that is open for reading: a bounds-checked view of a mapped file. Trusts nothing in it.
 */
typedef struct Index Index;

/* Maps @fd (which the caller keeps) and checks the superblock and that the root is a directory.
 * INVALID for what is no index of ours. The file must not be truncated while it is open. */
Index *index_open(int fd, GError **error);
void index_close(Index *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Index, index_close)
/* Unmaps the pages of the file that were looked at, which then no longer count as this process's
 * memory; the kernel's cache keeps them, and they come back when they are wanted. Thread-safe. */
void index_trim(const Index *index);

typedef struct {
  guint64 nid;
  guint32 mode, nlink, uid, gid, mtime_nsec, rdev_major, rdev_minor;
  guint64 size;
  gint64 mtime;
} IndexStat;

guint64 index_root_nid(const Index *index);
/* Inodes in the index. */
guint64 index_inode_count(const Index *index);

/* The request path below (FUSE serves from it) allocates nothing and returns 0 or a negative errno:
 * -ENOENT, -ENOTDIR, -ENODATA, -ERANGE, -EINVAL (readlink of no symlink, an offset never given), or
 * -EUCLEAN where the index is corrupt (also for a nid that leads nowhere). A corrupt directory may
 * lead to itself: whoever walks down bounds the depth. Safe to call from several threads. */
int index_stat(const Index *index, guint64 nid, IndexStat *ret_stat);
int index_lookup(const Index *index, guint64 dir_nid, const char *name, gsize name_size,
                 guint64 *ret_nid);
/* Entries of @dir_nid from @offset on (0: the start, "." and ".." included; else a ret_next given
 * earlier). @type is a DT_* value. @emit returns FALSE to stop before that entry is consumed;
 * @next is the offset to go on from after it. */
typedef gboolean (*IndexEmit)(void *data, const char *name, gsize name_size, guint64 nid,
                              unsigned type, guint64 next);
int index_readdir(const Index *index, guint64 dir_nid, guint64 offset, IndexEmit emit, void *data);
/* The symlink's target: points into the map, not NUL-terminated. */
int index_readlink(const Index *index, guint64 nid, const char **ret_target, gsize *ret_size);
/* The redirect of a regular file ("/usr/bin/env"), into @buffer of @size, NUL-terminated; -ENODATA
 * for a file without content. It begins with '/', but what follows is the index's word: resolve it
 * beneath its directory. */
int index_redirect(const Index *index, guint64 nid, char *buffer, gsize size);
/* As getxattr(2) and listxattr(2): @size 0 asks for the length; returns the length. The overlayfs
 * xattrs that make the index an index are left out, escaped ones get their image's names back. */
gssize index_getxattr(const Index *index, guint64 nid, const char *name, void *buffer, gsize size);
gssize index_listxattr(const Index *index, guint64 nid, char *buffer, gsize size);
/* Whether any inode has an xattr that listxattr would show (TRUE when that is not known). */
gboolean index_has_xattrs(const Index *index);
