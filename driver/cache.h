/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The cache of indexes and of verdicts, in settings' directory: <cache>/index/<key>.erofs and
 * <cache>/verdict/<key>. A key is the SHA-256 of a text that names all that the entry hangs on, and
 * that is kept with it: <key>.text, or what follows the verdict (cache-entries.h). Everything in it
 * may be deleted at any time. It is trusted because nobody but root and the user can write to it,
 * which is checked. Stands on image, index, mountapi, reference, settings, tree and util.
 */
#pragma once

#include "reference.h"
#include "tree.h"

typedef struct Cache Cache;

/* Opens, and makes where missing, the cache's directories. UNTRUSTED when others may write to one.
 */
Cache *cache_open(GError **error);
void cache_close(Cache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Cache, cache_close)

/* Whether the directory @fd, called @path, is owned by root or the user and others cannot change
 * what is in it. @is_store: it is the Nix store, where a group may add to it, as the sticky bit
 * keeps it from what is not its own; and whoever a user namespace cannot name counts as root, who
 * is one of them there. */
gboolean cache_check_directory(int fd, const char *path, gboolean is_store, GError **error);

/* Gives the tree of an index that has to be compiled, and in *ret_prefixes what stands before the
 * contents' paths (index_write()): NULL, or the caller's, NULL-terminated. */
typedef Tree *(*CacheBuild)(gpointer data, const char *const **ret_prefixes, GError **error);

/* The index that @text is about, open for reading; it is compiled first when it is not there or not
 * sound. Of several processes one compiles, the others wait for it. With @text NULL the index is
 * compiled into a file without a name. What was not used for longest goes where the settings' limit
 * is passed. */
int cache_open_index(Cache *cache, const char *text, CacheBuild build, gpointer data,
                     GError **error);

/* The index of the image that @reference names, which must be trusted already (trust.h). */
int cache_open_reference_index(Cache *cache, const Reference *reference, GError **error);

/* What was once found out about @question, a text that names all that the answer hangs on: 1 or 0,
 * -1 when it is not known. */
int cache_get_verdict(Cache *cache, const char *question);
/* Failure to remember is not an error: the question will be asked again. */
void cache_set_verdict(Cache *cache, const char *question, gboolean verdict);
