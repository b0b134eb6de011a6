/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The one tree that all layers of a source make. Stands on base, layer, progress, source, stage.
 */
#pragma once

#include "base.h"
#include "source.h"
#include "stage.h"

typedef struct {
  Tree *tree;
  Stage *stage; /* the content of its files */
  Base *base;   /* what the layers were built on; NULL: on nothing */
} Collapsed;

void collapsed_free(Collapsed *collapsed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Collapsed, collapsed_free)

/* Applies the layers of @source, which may decompress to @max_size bytes (0: any). A lowest layer
 * that is a reference is followed (base.h); UNSUPPORTED for one above others. */
Collapsed *collapse_source(const Source *source, guint64 max_size, GError **error);
