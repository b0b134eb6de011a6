/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cache-facts.h"
#include "index.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

GHashTable *
cache_facts_rooted(void)
{
  g_autoptr(GPtrArray) roots = store_list_roots(NULL);
  if (!roots)
    return NULL;
  GHashTable *paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; i < roots->len; i++) {
    StoreRoot *root = roots->pdata[i];
    if (root->path)
      g_hash_table_add(paths, g_steal_pointer(&root->path));
  }
  return paths;
}

static char *
judge_store_path(const char *path, GHashTable *rooted)
{
  if (access(path, F_OK) < 0)
    return g_strdup_printf("%s is gone", path);
  if (rooted && !g_hash_table_contains(rooted, path))
    return g_strdup_printf("no image in Podman stands on %s", path);
  return NULL;
}

/* @facts: device, inode and ctime of @path as they were ("%u %u %d.%09ld"). */
static char *
judge_inode(const char *path, const char *facts)
{
  struct stat st;
  if (stat(path, &st) < 0)
    return errno == ENOENT || errno == ENOTDIR ? g_strdup_printf("%s is gone", path) : NULL;
  g_autofree char *now = g_strdup_printf(
      "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GINT64_FORMAT ".%09ld", (guint64)st.st_dev,
      (guint64)st.st_ino, (gint64)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
  return strcmp(now, facts) == 0 ? NULL : g_strdup_printf("%s is not the same any more", path);
}

/* Cuts the last @n words off @text, which may hold blanks itself, and returns them; NULL when there
 * are not so many. */
static char *
cut_words(char *text, int n)
{
  char *cut = NULL;
  for (; n > 0; n--) {
    char *blank = strrchr(text, ' ');
    if (!blank)
      return NULL;
    if (cut)
      cut[-1] = ' ';
    *blank = '\0';
    cut = blank + 1;
  }
  return cut;
}

/* A line of session_identify_layer(). */
static char *
judge_layer(char *line, GHashTable *rooted)
{
  gboolean is_reference = g_str_has_prefix(line, "reference ");
  if (!is_reference && !g_str_has_prefix(line, "layer "))
    return g_strdup("nobody knows what it is for");
  char *path = strchr(line, ' ') + 1;
  const char *facts = cut_words(path, is_reference ? 2 : 3);
  if (!facts)
    return g_strdup("nobody knows what it is for");
  return is_reference ? judge_store_path(path, rooted) : judge_inode(path, facts);
}

static gboolean
version_is_current(const char *line)
{
  const char *number = strrchr(line, ' ');
  return number && g_ascii_strtoull(number, NULL, 10) == INDEX_FORMAT_VERSION;
}

/* What cache.c adds to a text of an index. */
static gboolean
is_of_cache(const char *line)
{
  return strcmp(line, "user namespace") == 0;
}

static char *
judge_merged_line(char *line, GHashTable *rooted)
{
  if (is_of_cache(line))
    return NULL;
  if (g_str_has_prefix(line, "format "))
    return version_is_current(line) ? NULL : g_strdup("it is of another version of nixstore");
  return judge_layer(line, rooted);
}

/* The texts of cache_open_reference_index(), session_merged_text(), trust_check_reference() and
 * session_find_whiteouts(), by their first line. */
static char *
judge_lines(char **lines, guint n, GHashTable *rooted)
{
  char *why = NULL;
  if (g_str_has_prefix(lines[0], "index ") && n >= 3)
    return version_is_current(lines[0]) && n - is_of_cache(lines[n - 1]) == 4
               ? judge_store_path(lines[1], rooted)
               : g_strdup("it is of another version of nixstore");
  if (strcmp(lines[0], "merged") == 0 && n >= 3) {
    for (guint i = 1; !why && i < n; i++)
      why = judge_merged_line(lines[i], rooted);
    return why;
  }
  if (strcmp(lines[0], "trust") == 0 && n >= 5) {
    why = judge_store_path(lines[1], rooted);
    return why ? why : judge_inode(lines[1], lines[4]);
  }
  if (strcmp(lines[0], "whiteouts") == 0 && n >= 2)
    return judge_layer(lines[1], rooted);
  return g_strdup("nobody knows what it is for");
}

char *
cache_facts_judge(const CacheEntry *entry, GHashTable *rooted)
{
  if (entry->kind == CACHE_REMNANT)
    return g_strdup("it was never finished");
  if (!entry->is_sound)
    return g_strdup("it is damaged, or others may write to it");
  if (!entry->text)
    return g_strdup("nobody knows what it is for");
  g_auto(GStrv) lines = g_strsplit(entry->text, "\n", -1);
  guint n = g_strv_length(lines);
  while (n > 0 && !*lines[n - 1])
    n--;
  return n > 0 ? judge_lines(lines, n, rooted) : g_strdup("nobody knows what it is for");
}
