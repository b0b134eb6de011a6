/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The mount plan: what is to be mounted where, as pure data. A backend (backend.h) carries it out.
 * Nothing is opened, probed or changed here. Stands on idmap, options and util.
 */
#pragma once

#include "options.h"

/* What the plan has to know of one lower, top to bottom. */
typedef struct {
  const char *path;
  const char *rootfs;     /* of a reference: <store path>/rootfs; else NULL */
  const char *container;  /* directory that a merged index reaches the layer's files through: the
                             driver's home or the store; NULL: no layer of ours */
  gboolean is_empty;      /* known to have no entries; need be known only below a reference, and
                             where it is unmappable */
  gboolean has_whiteouts; /* .wh. names in it */
  gboolean is_unmappable; /* its ids are to be mapped, and the kernel does not do it for us */
} PlanFacts;

typedef enum {
  PLAN_INDEX_NONE,
  PLAN_INDEX_REFERENCE, /* the index of the one reference, layer number @reference */
  PLAN_INDEX_MERGED,    /* an index of all layers together */
} PlanIndex;

typedef struct {
  char *target;
  char **lowers; /* directories, top to bottom; the index, if there is one, lies below them */
  PlanIndex index;
  guint reference;
  char **data;                         /* data-only layers that the index leads to */
  char *overlaydir, *overlaydir_aside; /* the index as a directory (overlaydir.h), and where it is
                                          made; NULL: there is no place for one */
  char *upper, *work;                  /* NULL: read-only */
  GArray *uids, *gids; /* of IdRange; NULL: not mapped. They hold for lowers and index */
  gboolean is_volatile;
  char *context, *source; /* may be NULL */
  guint64 attributes;     /* MOUNT_ATTR_* */
} MountPlan;

/* Plans the mount of @options' layers, of which @facts knows @n_facts, on @target. With @use_index
 * FALSE a reference's files are shown as the store has them. UNSUPPORTED where the layers cannot be
 * shown without an index, or not through one. */
MountPlan *plan_new(const MountOptions *options, const PlanFacts *facts, gsize n_facts,
                    gboolean use_index, const char *target, GError **error);
void plan_free(MountPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountPlan, plan_free)

/* Whether a single directory is to be bound: no overlay at all. */
gboolean plan_is_bind(const MountPlan *plan);
