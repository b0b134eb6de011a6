/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copying images with skopeo(1), for what only it can read or write, and the options that convert
 * and export hand to it for registries. Stands on run.
 */
#pragma once

#include <glib.h>

/* --authfile FILE and --tls-verify BOOL, for a command's table of options. */
#define SKOPEO_OPTIONS                                                                             \
  {"authfile",                                                                                     \
   0,                                                                                              \
   0,                                                                                              \
   G_OPTION_ARG_FILENAME,                                                                          \
   &skopeo_authfile,                                                                               \
   "The registry's credentials, as podman-login(1) writes them",                                   \
   "FILE"},                                                                                        \
  {                                                                                                \
    "tls-verify", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer)skopeo_parse_tls_verify,                  \
        "Whether the registry must have TLS and a certificate that is valid [true]", "BOOL"        \
  }
extern char *skopeo_authfile;
gboolean skopeo_parse_tls_verify(const char *name, const char *value, gpointer data,
                                 GError **error);

/* Whether one of them was given, which must not be in vain. */
gboolean skopeo_has_options(void);

typedef struct {
  const char *source, *destination; /* as skopeo names images */
  const char *side;                 /* which of them a registry may be: "src" or "dest" */
  const char *const *options;       /* further ones of skopeo itself, NULL at the end; or NULL */
  const char *tmpdir;
} SkopeoCopy;

/* Runs `skopeo copy`. */
gboolean skopeo_copy(const SkopeoCopy *copy, GError **error);
