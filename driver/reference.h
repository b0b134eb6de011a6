/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reference layer's .nixstore/reference.json: which store path a layer stands for. A stranger
 * may have written it. Stands on store and util.
 *
 * { "version": 1, "storePath": "/nix/store/...", "narHash": "sha256:<base32>",
 *   "manifestDigest": "sha256:<hex>" }
 */
#pragma once

#include <glib.h>

#define REFERENCE_VERSION 1
#define REFERENCE_DIRECTORY ".nixstore"
#define REFERENCE_PATH ".nixstore/reference.json"
#define REFERENCE_MAX_SIZE (64 * 1024)

typedef struct {
  char *store_path;      /* passed store_path_check() */
  char *nar_hash;        /* "sha256:<52 characters of base32>" */
  char *manifest_digest; /* "sha256:<64 hex>" */
} Reference;

void reference_free(Reference *reference);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reference, reference_free)

/* Parses @text. INVALID or UNTRUSTED. */
Reference *reference_parse(const char *text, gsize size, GError **error);

/* Reads the reference of the layer whose content directory (`diff`) is @layer_fd. Returns TRUE with
 * *ret_reference NULL when the layer is an ordinary one: no regular .nixstore/reference.json
 * reached without symlinks. */
gboolean reference_read(int layer_fd, Reference **ret_reference, GError **error);

/* The JSON text, the same bytes always. Caller frees. */
char *reference_serialise(const Reference *reference);
