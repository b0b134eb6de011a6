/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Applies layers to a tree, as the OCI image specification (layer.md) says and, where that leaves
 * anything open, as containers/storage's vfs driver does (its pkg/archive, UnpackLayer):
 *
 * - Entries are applied in order; of two entries of one name the last wins. A whiteout removes what
 *   has its name at that point. An opaque marker removes all beneath its directory but what its own
 *   layer put there, wherever in the layer it stands.
 * - Names are resolved beneath the root, as in a chroot, through symlinks that are there already.
 *   Absolute names are taken as relative to the root; ".." in a name is refused.
 * - Missing parents are made 0755 root:root (below a setgid directory, of its group and setgid)
 * with time 0.
 * - A directory over a directory takes its owner, mode and time and adds to its xattrs.
 * - A hard link's own owner, mode, time and xattrs become its inode's (a symlink's: the owner).
 * - Times before 1970 and after 2262 become 0, a symlink's excepted.
 * - Of xattrs, security.selinux and those of namespaces that Linux does not have are left out.
 * - A character device 0:0 is a whiteout, as it is to overlayfs.
 *
 * Stands on blob, stage, tar-reader, tree.
 */
#pragma once

#include "blob.h"
#include "stage.h"
#include "tar-reader.h"
#include "tree.h"

/* What an image may have at most, beside its bytes: a stranger's layers cost memory by the entry.
 */
#define LAYER_ENTRIES_MAX (4 * 1000 * 1000)
#define LAYER_DEVICES_MAX (16 * 1024)
#define LAYER_XATTR_BYTES_MAX (64 * 1024 * 1024)
/* Of symlinks: 60 for each of as many entries as there may be. */
#define LAYER_TARGET_BYTES_MAX (256 * 1024 * 1024)

typedef struct {
  Tree *tree;         /* of the layers so far */
  Stage *stage;       /* where content goes */
  BlobBudget *budget; /* holes count too */
  guint32 layer;      /* number of the layer at hand, from 1 on; layer_apply() counts it up */
  guint64 entries, devices, xattr_bytes, target_bytes;
} LayerTarget;

/* A tree as it is before the first layer: "/" is 0555 root:root. */
Tree *layer_new_tree(void);

/* Applies the layer that @fill gives with @data to @target; what follows the tar's end is not read.
 * INVALID, naming the entry, for anything that is malformed or forbidden. */
gboolean layer_apply_tar(LayerTarget *target, TarFill fill, void *data, GError **error);

/* Applies the layer @stream to @target, reading it to its end, so that its digests are
 * verified. */
gboolean layer_apply(LayerTarget *target, BlobStream *stream, GError **error);
