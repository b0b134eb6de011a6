/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Arguments that several subcommands take.
 */
#pragma once

#include <glib.h>

/* The store path that @argument names: itself, or what it leads to when it is a symlink into the
 * store (the `result` of a Nix build) or has a slash at its end. Caller frees. */
char *argument_store_path(const char *argument, GError **error);

/* The full name of an image as Podman keeps it: "debian" is "localhost/debian:latest". A mistake on
 * the command line for what no image can be called. Caller frees. */
char *argument_image_name(const char *argument, GError **error);

/* The image name for a store path that was given none: that of its name part. Caller frees. */
char *argument_default_name(const char *store_path);
