/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads ahead from file to file: who reads the files of a directory one after another finds the
 * next ones opened and on their way from the disk. The kernel reads ahead within a file alone, so
 * a cold tree of small files is otherwise one wait for the disk after another. Stands on data and
 * driver/index. Thread-safe; a hint and nothing more: no error, and nothing that the next server
 * would miss.
 *
 * An index lays the inodes of a directory's entries out together, so a directory that was listed
 * is known again by the node ID of its files. What is read next is the next file in the listing;
 * the further that holds, the more files are fetched at a time, as the kernel does with pages.
 */
#pragma once

#include "data.h"

typedef struct Ahead Ahead;

/* Starts its threads; NULL when there can be none. Lives as long as the process. */
Ahead *ahead_new(const Index *index, Data *data);

/* All or a part of the directory @dir was listed; the node IDs of the regular files in that part
 * are from @first to @last. */
void ahead_note_listing(Ahead *ahead, guint64 dir, guint64 first, guint64 last);

/* The regular file @nid is being read from its start. */
void ahead_note_read(Ahead *ahead, guint64 nid);
