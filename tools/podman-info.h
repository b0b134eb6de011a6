/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How Podman is set up, by its own word (`podman info`): what info and doctor go by. Stands on
 * podman.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *version;
  char *driver; /* the storage driver in use: "overlay", "nixstore", ... */
  char *graph_root, *run_root;
  char *config_file;          /* the storage.conf that it read; NULL: none */
  char *mount_program;        /* of the driver; NULL: none */
  char *mount_program_source; /* who says so: --storage-opt, STORAGE_OPTS or the file; NULL */
  char *mountopt;             /* NULL: none */
  char *configured_driver;    /* what the file asks for; NULL: nothing */
  gboolean is_rootless;
  guint64 n_uids, n_gids; /* that its user namespace maps; 0: it has none of its own */
} PodmanInfo;

/* Asks the Podman of the user's options. */
PodmanInfo *podman_info_new(GError **error);
void podman_info_free(PodmanInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PodmanInfo, podman_info_free)

/* Whether Podman has the storage driver @driver built in: it is asked for it with an empty storage
 * of its own, as only its start tells. */
gboolean podman_has_driver(const char *driver, gboolean *ret_has, GError **error);

/* The value of @key in the table @table of the TOML file @path, a basic or literal string; NULL
 * where it is not there. Caller frees. */
char *podman_conf_lookup(const char *path, const char *table, const char *key);
