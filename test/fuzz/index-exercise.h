/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls every function of the index reader on everything that an index of whatever content leads
 * to, within bounds. For the fuzzer and for the tests with broken indexes.
 */
#pragma once

#include <glib.h>

typedef struct {
  gboolean opened;
  guint inodes;  /* looked at */
  guint corrupt; /* calls that returned -EUCLEAN */
} ExerciseResult;

/* @image is copied to memory of exactly its size, so that AddressSanitizer sees each byte read
 * beyond it. */
ExerciseResult index_exercise(const guint8 *image, gsize size);

/* Makes the superblock's checksum right again, if the image is large enough to have one. */
void index_exercise_fix_checksum(guint8 *image, gsize size);
