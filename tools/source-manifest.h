/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Image manifests, indexes and configs: the OCI image specification's (manifest.md, image-index.md,
 * config.md), Docker's Image Manifest Version 2, Schema 2, and the manifest.json of docker save. A
 * stranger wrote them. Private to the sources. Stands on source-files, util.
 */
#pragma once

#include "source.h"
#include "source-files.h"

/* How the files of a source are named. */
typedef enum { SOURCE_LAYOUT_OCI, SOURCE_LAYOUT_DIR } SourceLayout;

/* Each fills in reference (where the source has one), config, config_digest, layers and layers_size
 * of @source. @reference: which image of several; NULL. */
gboolean source_read_oci(Source *source, SourceFiles *files, const char *reference,
                         const SourceOptions *options, GError **error);
gboolean source_read_dir(Source *source, SourceFiles *files, const SourceOptions *options,
                         GError **error);
gboolean source_read_docker_archive(Source *source, SourceFiles *files, const char *reference,
                                    const SourceOptions *options, GError **error);

/* What the config says: compares its diff IDs with the layers and hands them to these. */
gboolean source_check_config(Source *source, const SourceOptions *options, GError **error);
