/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The should-fail corpus of indexes: a good one, broken in one place each time.
 */
#pragma once

#include <glib.h>

/* Number of mutations, and the name of each ("dir-name-slash"). */
guint index_mutation_count(void);
const char *index_mutation_name(guint number);

/* The good index; then with mutation @number, which any reader must notice: at the superblock, or
 * when everything in it is looked at. Free with g_byte_array_unref(). */
GByteArray *index_mutation_good(void);
GByteArray *index_mutation_make(guint number);

/* An index whose directory dir/sub leads back to the root: legal for a reader that looks at one
 * directory at a time. */
GByteArray *index_mutation_loop(void);
