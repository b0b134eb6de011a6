/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layers of one mount, top to bottom: which of them are layers of a containers/storage home,
 * which stand for store paths, and what whiteouts they hold; and their union as one tree. Stands on
 * image, overlay, reference, tree and util.
 */
#pragma once

#include "reference.h"
#include "tree.h"

typedef struct {
  char *
      path; /* absolute; for a layer of a home its <home>/<id>/diff, never an idmapped view of it */
  int fd;   /* the directory at @path, O_PATH */
  char *home,
      *id; /* of the containers/storage home that it is a layer of; NULL: any other directory */
  gboolean is_own;      /* the home is the one that we were called in */
  gboolean is_mutable;  /* may still change: its contents say nothing about tomorrow's */
  Reference *reference; /* NULL: an ordinary layer */
} StackLayer;

typedef struct {
  char *home;        /* the driver's home that we were called in; NULL when it is none */
  GPtrArray *layers; /* of StackLayer, top to bottom */
} Stack;

/* Opens the directories @lowers (NULL-terminated; relative ones beneath the working directory). The
 * working directory counts as a driver's home when it looks like one and only we can write to it.
 * A reference counts only in a layer of that home: other directories belong to users. */
Stack *stack_open(const char *const *lowers, gboolean has_upper, GError **error);
void stack_free(Stack *stack);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stack, stack_free)

/* Whether the directory has no entries. */
gboolean stack_layer_is_empty(const StackLayer *layer, gboolean *ret_empty, GError **error);

/* Whether a name beginning with ".wh." is in the layer: reads every directory of it. */
gboolean stack_layer_find_whiteouts(const StackLayer *layer, gboolean *ret_found, GError **error);

/* Changes whenever stack_merge() makes another tree of the same layers: part of the cache's keys.
 */
#define STACK_MERGE_VERSION 2

/* The tree that overlayfs would show for the stack, if it knew AUFS's whiteouts as well as its own:
 * with the option userxattr in a user namespace, else without. Contents lead to content_layer n,
 * the layer's number in the stack, content_path beneath its directory (of a reference: beneath
 * rootfs). UNSUPPORTED for a layer that is none of a home's. */
Tree *stack_merge(const Stack *stack, GError **error);
