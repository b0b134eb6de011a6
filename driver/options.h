/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The option string that containers/storage and Buildah hand to a mount program:
 * "lowerdir=A:B,upperdir=U,workdir=W,,volatile,uidmapping=:0:100000:65536,context="a,b"". Stands on
 * idmap and util.
 *
 * Items are separated by commas, empty ones mean nothing. A comma within double quotes, and any of
 * : , " \ after a backslash, is part of the value. An item stands for what its last mention says.
 */
#pragma once

#include <glib.h>

typedef struct {
  char **lowers;       /* top to bottom, as given: absolute or relative to the driver's home */
  char *upper, *work;  /* both or neither; NULL means read-only */
  GArray *uids, *gids; /* of IdRange; both or neither */
  char *context;       /* SELinux context of the mount; NULL: none */
  gboolean is_volatile;
  guint64 attributes; /* MOUNT_ATTR_* */
} MountOptions;

/* Lower directories that one mount may have (overlayfs: OVL_MAX_STACK). */
#define OPTIONS_MAX_LOWERS 500

/* Parses @text. INVALID for an unknown option, no lower, one of upperdir and workdir without the
 * other, or an invalid mapping. */
MountOptions *options_parse(const char *text, GError **error);
void options_free(MountOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountOptions, options_free)
