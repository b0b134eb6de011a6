/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One overlayfs superblock (the kernel's Documentation/filesystems/overlayfs.rst) out of
 * descriptors, in each of the ways that kernels take layers. Stands on mountapi, settings and util.
 */
#pragma once

#include <glib.h>

typedef struct {
  GArray *lowers;        /* of int: directories or mounts, top to bottom; not owned here */
  GArray *data;          /* of int: data-only layers below them */
  int upper_fd, work_fd; /* -1: read-only */
  gboolean metacopy; /* follow metacopy into the data layers as kernels before 6.16 want it: never
                        together with an upper */
  gboolean is_volatile;
  const char *context; /* SELinux context, or NULL */
  const char *source;  /* what mountinfo shows as its source */
  guint64 attributes;  /* MOUNT_ATTR_* */
  /* Set: the kernel took the layers this way, a failure is about something else. */
  gboolean understood;
} Overlay;

typedef enum {
  OVERLAY_BY_DESCRIPTOR, /* FSCONFIG_SET_FD of lowerdir+, datadir+, upperdir, workdir: 6.13 */
  OVERLAY_BY_NAME,       /* FSCONFIG_SET_STRING of lowerdir+ and datadir+: 6.7 */
  OVERLAY_CLASSIC,       /* mount(2) with one page of options; only in a private mount namespace */
} OverlayWay;

/* What the names of the xattrs begin with that our overlays obey, in this process's user namespace.
 * Where one is only to be shown under such a name, OVERLAY_ESCAPE comes after the beginning, which
 * overlayfs takes away ("Nesting overlayfs mounts"; before 6.7 it hides it). */
const char *overlay_marks(void);
#define OVERLAY_ESCAPE "overlay."

/* Creates the overlay and returns a detached mount of it. UNSUPPORTED where the kernel does not
 * know the way, or refuses the combination. */
int overlay_create(Overlay *overlay, OverlayWay way, GError **error);
