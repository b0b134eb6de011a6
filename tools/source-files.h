/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The files of a source: a directory, or a tar archive that is indexed once and read in place.
 * Private to the sources. Stands on blob, decompress, scratch, tar-reader, util.
 */
#pragma once

#include "source.h"

typedef struct SourceFiles SourceFiles;

/* Opens the directory @path. */
SourceFiles *source_files_open_directory(const char *path, GError **error);

/* Opens the tar archive @path. What comes out of a pipe (/dev/stdin), and an archive that is
 * compressed as a whole (docker save | gzip), goes into a temporary file first, the options'
 * max_size bytes of it at most (0: any). */
SourceFiles *source_files_open_archive(const char *path, const SourceOptions *options,
                                       GError **error);

void source_files_free(SourceFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SourceFiles, source_files_free)

/* The regular file @name ("blobs/sha256/..."), with neither digest nor diff ID. NOT_FOUND when
 * there is none. The blob's descriptor is @files's. Caller frees. */
Blob *source_files_find(SourceFiles *files, const char *name, GError **error);

/* All of the file @name, @max bytes at most. */
char *source_files_read(SourceFiles *files, const char *name, gsize max, gsize *ret_size,
                        GError **error);
