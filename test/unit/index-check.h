/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Comparing an index with the tree that it was written from, for the tests of the index.
 */
#pragma once

#include "index.h"
#include "tree.h"

/* Writes the index of @tree to a new file at @path and returns its descriptor. */
int index_check_write(Tree *tree, const char *path);

/* Every entry of @tree is in @index with all its attributes, and nothing else is. */
void index_check_reader(const Index *index, Tree *tree);

/* The path of each inode's content as a redirect has it, by the rule in index.h: TreeInode ->
 * string. */
GHashTable *index_check_redirects(Tree *tree);
