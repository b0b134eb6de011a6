/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Adding a staged image to the Nix store.
 */
#pragma once

#include "nix-worker.h"
#include "stage.h"

/* Adds @image; returns its store path. *ret_worker is what holds the path against a garbage
 * collection until it is closed, or NULL where Nix cannot be had to (then a collection at the wrong
 * moment takes it). The tree's inodes' marks are changed. */
char *add_image(const StagedImage *image, NixWorker **ret_worker, GError **error);
