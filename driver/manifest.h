/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ownership.mtree: what the Nix store cannot keep of a tree, as an mtree(5) 2.0 manifest; the
 * format is described in nixstore-image(5). Stands on tree and util.
 *
 * One line an entry, full paths ("./usr/bin/env"), in tree order, "." first. Keywords written:
 * type, uid, gid, mode (four octal digits, with setuid, setgid, sticky), time (seconds, negative
 * before 1970, '.' nine digits of nanoseconds to add, as in a timespec), device=native,MAJOR,MINOR,
 * xattr.NAME=BASE64, and hardlink=PATH on every name but the first of a link group, which alone
 * stands in rootfs (its attributes hold for the group). What equals the /set in force is elided:
 * "/set type=file uid=0 gid=0 mode=0644" stands at the top, and
 * "/set time=..." wherever the next line shares an entry's time. Sizes, symlink targets and content
 * are the store's and not here. The same tree gives the same bytes, always.
 */
#pragma once

#include "tree.h"

/* Bytes that a manifest may have at most, written or read. */
#define MANIFEST_MAX_SIZE (1024 * 1024 * 1024)

/* The manifest of @tree. Content, sizes and targets are not looked at. INVALID where it would have
 * more than MANIFEST_MAX_SIZE bytes, as nobody could read it. Caller frees. */
GString *manifest_write(Tree *tree, GError **error);

/* The tree that the manifest @data (of @size bytes, a stranger's) describes. Sizes, targets
 * and contents are not known yet: see rootfs_bind_tree(). INVALID with the line's number on
 * anything that the format does not allow: unknown type, unsorted or duplicate path, a parent that
 * is missing or no directory, ".." or empty component, a hard link to anything but an earlier
 * non-directory, bad escapes or numbers, a path over PATH_MAX. Keywords that say nothing of
 * ownership (size, link, sha256digest, ...) are accepted and ignored, unknown ones refused. So are
 * xattrs that overlayfs would obey (trusted.overlay.*), and more of them than Linux lists. */
Tree *manifest_parse(const char *data, gsize size, GError **error);
