/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mode overlaydir's directories: an index written out as inodes of an ordinary filesystem, with the
 * xattrs user.overlay.metacopy and user.overlay.redirect, for overlayfs in a user namespace (the
 * kernel's Documentation/filesystems/overlayfs.rst, "Data-only lower layers" and "User xattr").
 * There idmapped mounts are not to be had, so each mapping of ids has a directory of its own.
 *
 * One belongs to a layer of Podman's and goes with it: <layer>/nixstore-overlaydir/<key>, which
 * begins with the version of what is written. It is written aside, under a lock that lets one be
 * made at a time, and renamed when it is whole. Stands on idmap, index, mountapi and util.
 */
#pragma once

#include <glib.h>

/* Beside a layer's `diff`. */
#define OVERLAYDIR_NAME "nixstore-overlaydir"
/* Beside the storage driver's home: what is being made. */
#define OVERLAYDIR_ASIDE "nixstore-overlaydir.new"
/* Mappings of one image that have a directory; others are left to nixstore-fuse. */
#define OVERLAYDIR_MAX 4

/* The name of the directory for what @identity says of the image, under these mappings (of IdRange
 * or NULL) and that of our user namespace. Caller frees. */
char *overlaydir_key(const char *identity, const GArray *uids, const GArray *gids);

/* Opens the directory at @path (O_PATH). UNSUPPORTED when it is not made yet, UNTRUSTED when others
 * may write to the one that it is in. */
int overlaydir_open(const char *path, GError **error);

/* Whether there is a point in making it: it is not there, nor are OVERLAYDIR_MAX others of this
 * version, nor was it found impossible on this kernel. */
gboolean overlaydir_is_wanted(const char *path);

/* Notes on disk, for overlaydir_is_wanted(), that @reason keeps it from being made. Best effort. */
void overlaydir_give_up(const char *path, const char *reason);

/* Paths of what another version has left in @parent, a layer's OVERLAYDIR_NAME, and nobody uses:
 * nothing above the data directory @data, to which all of it leads, is mounted where this process
 * may look. */
GPtrArray *overlaydir_list_old(const char *parent, const char *data);

/* Removes @path, one of those. Needs to be root of the user namespace that it was made in. FALSE
 * without an error where somebody has mounted above @data since. */
gboolean overlaydir_remove_old(const char *path, const char *data, GError **error);

/* Makes it of the index @index_fd, in the directory @aside on the same filesystem, where what was
 * left half made is removed. With @wait FALSE it fails while another is being made, and takes
 * Podman's lock on its layers when all is done; who waits is taken to be Podman's and to have it.
 * UNSUPPORTED when the image has what nobody can make here: ids outside the namespace, files too
 * large for the filesystem. */
gboolean overlaydir_make(const char *path, const char *aside, int index_fd, const GArray *uids,
                         const GArray *gids, gboolean wait, GError **error);

/* Writes the index @index_fd into the empty directory @root_fd, ids as they are: part of
 * overlaydir_make(). */
gboolean overlaydir_write(int root_fd, int index_fd, GError **error);
