/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A tree as a layer's tar: POSIX pax with all that the manifest knows (owners, modes, nanosecond
 * times, hard links, devices, xattrs as SCHILY.xattr.*), names as raw bytes. The same tree gives
 * the same bytes.
 */
#pragma once

#include "layer-writer.h"
#include "progress.h"
#include "tree.h"

/* Writes @tree, whose content is in the directory @rootfs_fd, to @writer. */
gboolean export_tar(Tree *tree, int rootfs_fd, LayerWriter *writer, Progress *progress,
                    GError **error);
