/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What nixstore has made and nobody needs any more: gc removes it, doctor counts it. Nothing here
 * is a store path, and nothing is found that a mount in progress, a running program or a file
 * system that is not mounted at the moment could still want.
 */
#pragma once

#include <glib.h>

typedef enum {
  LEFTOVER_INDEX, /* in the cache, and so the next two */
  LEFTOVER_VERDICT,
  LEFTOVER_REMNANT,
  LEFTOVER_SOCKET,     /* of a FUSE server that is gone */
  LEFTOVER_SCRATCH,    /* the temporary directory of a killed command */
  LEFTOVER_ROOT,       /* a GC root in the store's books whose layer is gone */
  LEFTOVER_OVERLAYDIR, /* of mode overlaydir, made by another version */
  LEFTOVER_FAILURES,   /* the note of images that could not be replaced */
  LEFTOVER_N_KINDS,
} LeftoverKind;

typedef struct {
  LeftoverKind kind;
  gboolean is_damaged; /* not old, but wrong: whoever needs it makes it anew */
  char *path;          /* absolute */
  char *why;           /* one line */
  guint64 size;        /* bytes on disk */
} Leftover;

/* "index", "socket", ... */
const char *leftover_kind_name(LeftoverKind kind);

/* All leftovers of this user, of Leftover. What cannot be looked at is left out, with a line for
 * each appended to @problems. */
GPtrArray *leftovers_find(GPtrArray *problems);

/* Removes it. FALSE without an error where somebody has taken it into use since. */
gboolean leftover_remove(const Leftover *leftover, GError **error);
