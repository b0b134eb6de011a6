/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running Podman with the options that the user gave for it.
 */
#pragma once

#include "reference.h"

#include <glib.h>

/* --root, --runroot, --storage-driver, --storage-opt, --podman: where Podman's storage is and which
 * Podman to run. A command with `podman` set takes them. */
extern const GOptionEntry podman_options[];

/* The program that --podman names, or "podman". */
const char *podman_program(void);

/* Whether a --storage-opt of the user's has @text in it. */
gboolean podman_option_names(const char *text);

/* Whether the user chose the storage by an option: then Podman does not heed its configuration. */
gboolean podman_chooses_storage(void);

/* Whether the user said by any option which Podman, or which storage of its, is meant. */
gboolean podman_is_named(void);

/* Runs podman, the user's options first, then @arguments (NULL at the end). Its standard output
 * goes to *ret_output (NULL: dropped), its standard input is empty. On failure the error holds its
 * last line. */
gboolean podman_run(const char *const *arguments, char **ret_output, GError **error);

/* Loads the image archive @file of @format ("oci-archive", "docker-archive"). What Podman writes on
 * its way, and leaves when it fails, is in
 * @tmpdir. */
gboolean podman_load(const char *file, const char *format, const char *tmpdir, GError **error);

/* Saves @image as an archive in @directory, in the format of its manifest: only then does its
 * config, of which its ID is the digest, stay what it is. Returns the archive as source.h names it.
 */
char *podman_save(const char *image, const char *directory, GError **error);

/* Whether Podman has the image @image, by its own word and not by that of an error's text. */
gboolean podman_has_image(const char *image, gboolean *ret_has, GError **error);

/* Whether it is a client of a Podman elsewhere (CONTAINER_HOST, podman-remote(1)). It takes about a
 * second. */
gboolean podman_is_remote(void);

/* An image in Podman's storage, as `podman image inspect` has it. */
typedef struct {
  char *id;     /* 64 hex digits */
  char **names; /* "localhost/debian:latest"; never NULL */
  char *driver; /* the storage driver: "overlay", "nixstore", ... */
  char **diffs; /* its layers' content directories, the lowest first; empty for drivers of another
                   kind */
} PodmanImage;

void podman_image_free(PodmanImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PodmanImage, podman_image_free)

/* Its first name, or its ID. */
const char *podman_image_name(const PodmanImage *image);

/* The images named by @images (NULL at the end; at least one), in that order. An error when Podman
 * does not know one. */
GPtrArray *podman_inspect_images(const char *const *images, GError **error);

/* As above for a single image. */
PodmanImage *podman_inspect_image(const char *image, GError **error);

/* The reference of the lowest of @image's layers that has one; *ret_reference is NULL for an
 * ordinary image. */
gboolean podman_image_reference(const PodmanImage *image, Reference **ret_reference,
                                GError **error);

/* The link beside the layer which holds that reference: the GC root that a mount of @image makes.
 * NULL when there is none. Caller frees. */
char *podman_image_gc_link(const PodmanImage *image);

/* The file in which Podman's storage lists its images. It need not be there yet. */
char *podman_find_image_list(GError **error);

/* Whether containers of an image path can run with Podman's storage driver as it is set up: the
 * overlay driver must have a mount_program. TRUE where that cannot be found out. Where the options
 * do not tell it takes about a second: `podman info` asks the package manager for versions. */
gboolean podman_can_mount(void);
