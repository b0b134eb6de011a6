/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The content of the image's files: the data directories that the index's redirects lead to, and a
 * cache of open descriptors, as requests name a file by its node ID alone. Stands on driver/index
 * and util. Thread-safe. Where it is part of the request path, errors are negative errnos.
 *
 * A redirect is looked up as overlayfs looks one up in data-only layers: beneath each directory in
 * turn, the first that has it wins. No symlink is followed and nothing leads out of the directory
 * (openat2(2), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), whatever the index says; only regular files
 * of the size that the index gives are read.
 */
#pragma once

#include "index.h"

typedef struct Data Data;

/* Opens the @paths (NULL-terminated, one at least). */
Data *data_open(const char *const *paths, GError **error);
void data_close(Data *data);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Data, data_close)

/* Opens some regular file beneath the first directory, to try things with; -1 when none is found
 * soon. */
int data_open_example(const Data *data);

/* A descriptor on loan. */
typedef struct {
  int fd;
  struct DataSlot *slot; /* NULL: fd is the borrower's to close */
} DataLoan;

/* Borrows a descriptor of the content of @nid, a regular file of @size bytes: -ENODATA when the
 * index names no content (all of it zeroes), -EIO when the content is missing or another than the
 * index says. Give it back with data_return(), and use it only with offsets (pread(2)). */
int data_borrow(Data *data, const Index *index, guint64 nid, guint64 size, DataLoan *ret_loan);
void data_return(DataLoan *loan);
/* The same without waiting for a disk: only where it is open already. */
gboolean data_borrow_open(Data *data, guint64 nid, DataLoan *ret_loan);
