/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "leftovers.h"
#include "cache-facts.h"
#include "failures.h"
#include "fuseserver.h"
#include "overlaydir.h"
#include "scratch.h"
#include "session.h"
#include "settings.h"
#include "store.h"
#include "util.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  GPtrArray *found;
  GPtrArray *problems;
} Search;

static void
leftover_free(Leftover *leftover)
{
  g_free(leftover->path);
  g_free(leftover->why);
  g_free(leftover);
}

/* Takes over @path and @why. */
static Leftover *
search_add(Search *search, LeftoverKind kind, char *path, char *why, guint64 size)
{
  Leftover *leftover = g_new0(Leftover, 1);
  leftover->kind = kind;
  leftover->path = path;
  leftover->why = why;
  leftover->size = size;
  g_ptr_array_add(search->found, leftover);
  return leftover;
}

static void
search_note(Search *search, const GError *error)
{
  if (error)
    g_ptr_array_add(search->problems, g_strdup(error->message));
}

static const LeftoverKind cache_kinds[] = {
    [CACHE_INDEX] = LEFTOVER_INDEX,
    [CACHE_VERDICT] = LEFTOVER_VERDICT,
    [CACHE_REMNANT] = LEFTOVER_REMNANT,
};

static const char *
cache_directory(LeftoverKind kind)
{
  return kind == LEFTOVER_VERDICT ? "verdict" : "index";
}

static void
find_in_cache(Search *search)
{
  g_autoptr(GError) error = NULL;
  const Settings *settings = settings_get(&error);
  g_autoptr(Cache) cache = settings ? cache_open(&error) : NULL;
  g_autoptr(GPtrArray) entries = cache ? cache_list_entries(cache, TRUE, &error) : NULL;
  g_autoptr(GHashTable) rooted = entries ? cache_facts_rooted() : NULL;
  search_note(search, error);
  for (guint i = 0; entries && i < entries->len; i++) {
    const CacheEntry *entry = entries->pdata[i];
    char *why = cache_facts_judge(entry, rooted);
    if (!why)
      continue;
    LeftoverKind kind = cache_kinds[entry->kind];
    char *path = g_build_filename(settings->cache, cache_directory(kind), entry->name, NULL);
    search_add(search, kind, path, why, entry->size)->is_damaged =
        !entry->is_sound && kind != LEFTOVER_REMNANT;
  }
}

static gboolean
remove_from_cache(const Leftover *leftover, GError **error)
{
  g_autofree char *name = g_path_get_basename(leftover->path);
  g_autoptr(Cache) cache = cache_open(error);
  for (guint i = 0; cache && i < G_N_ELEMENTS(cache_kinds); i++)
    if (cache_kinds[i] == leftover->kind)
      return cache_remove_entry(cache, i, name, error);
  return FALSE;
}

static void
find_sockets(Search *search)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *directory = fuseserver_directory();
  if (!directory || access(directory, F_OK) < 0)
    return;
  autofd int lock = fuseserver_lock(directory, &error);
  DIR *stream = lock < 0 ? NULL : opendir(directory);
  const struct dirent *entry;
  struct stat st;
  search_note(search, error);
  while (stream && (entry = readdir(stream)))
    if (fstatat(lock, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode) &&
        !fuseserver_is_there(lock, entry->d_name))
      search_add(search, LEFTOVER_SOCKET, g_build_filename(directory, entry->d_name, NULL),
                 g_strdup("its FUSE server is gone"), 0);
  if (stream)
    closedir(stream);
}

static gboolean
remove_socket(const Leftover *leftover, GError **error)
{
  g_autofree char *directory = g_path_get_dirname(leftover->path);
  g_autofree char *name = g_path_get_basename(leftover->path);
  autofd int lock = fuseserver_lock(directory, error);
  if (lock < 0 || fuseserver_is_there(lock, name))
    return FALSE;
  return unlinkat(lock, name, 0) == 0 || util_error_errno(error, "remove %s", leftover->path);
}

/* Bytes on disk of all beneath @path; a file with several names counts for each. */
static guint64
measure_tree(const char *path)
{
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  const char *name;
  struct stat st;
  guint64 size = lstat(path, &st) == 0 ? (guint64)st.st_blocks * 512 : 0;
  while (dir && (name = g_dir_read_name(dir))) {
    g_autofree char *child = g_build_filename(path, name, NULL);
    if (lstat(child, &st) < 0)
      continue;
    size += S_ISDIR(st.st_mode) ? measure_tree(child) : (guint64)st.st_blocks * 512;
  }
  return size;
}

static void
find_scratch(Search *search)
{
  const char *tmpdir = g_getenv("TMPDIR");
  const char *parents[] = {"/var/tmp", "/tmp", tmpdir};
  for (guint i = 0; i < G_N_ELEMENTS(parents); i++) {
    if (!parents[i] || *parents[i] != '/' ||
        (i == 2 && (strcmp(tmpdir, parents[0]) == 0 || strcmp(tmpdir, parents[1]) == 0)))
      continue;
    g_autoptr(GPtrArray) paths = scratch_list_stale(parents[i]);
    for (guint k = 0; k < paths->len; k++)
      search_add(search, LEFTOVER_SCRATCH, g_strdup(paths->pdata[k]),
                 g_strdup("the command that made it was killed"), measure_tree(paths->pdata[k]));
  }
}

static gboolean
remove_scratch(const Leftover *leftover, GError **error)
{
  return scratch_remove_stale(leftover->path, error);
}

/* Whether the root's link was ours and its directory is gone for good. A graph root that is merely
 * not mounted must not lose its roots: the home that the layer was in has to be there. */
static gboolean
root_is_dead(const StoreRoot *root)
{
  g_autofree char *name = g_path_get_basename(root->link);
  g_autofree char *layer = g_path_get_dirname(root->link);
  g_autofree char *home = g_path_get_dirname(layer);
  g_autofree char *links = g_build_filename(home, "l", NULL);
  return root->is_dangling && strcmp(name, SESSION_GC_LINK) == 0 && access(layer, F_OK) < 0 &&
         errno == ENOENT && access(links, F_OK) == 0;
}

static void
find_roots(Search *search)
{
  g_autoptr(GPtrArray) roots = store_list_roots(NULL);
  for (guint i = 0; roots && i < roots->len; i++) {
    const StoreRoot *root = roots->pdata[i];
    g_autofree char *directory = g_path_get_dirname(root->registered);
    if (root_is_dead(root) && access(directory, W_OK) == 0)
      search_add(search, LEFTOVER_ROOT, g_strdup(root->registered),
                 g_strdup_printf("the layer of %s is gone", root->link), 0);
  }
}

static gboolean
remove_root(const Leftover *leftover, GError **error)
{
  g_autofree char *link = g_file_read_link(leftover->path, NULL);
  struct stat st;
  if (!link || lstat(link, &st) == 0)
    return FALSE;
  return unlink(leftover->path) == 0 || util_error_errno(error, "remove %s", leftover->path);
}

/* Only who is root of the user namespace that they were made in may remove all of one, and looks
 * into nobody else's directories: `podman unshare nixstore gc'. */
static void
find_overlaydirs(Search *search)
{
  gboolean is_for_us = geteuid() == 0 && !settings_process_is_root();
  g_autoptr(GPtrArray) roots = is_for_us ? store_list_roots(NULL) : NULL;
  for (guint i = 0; roots && i < roots->len; i++) {
    const StoreRoot *root = roots->pdata[i];
    g_autofree char *name = g_path_get_basename(root->link);
    if (!root->path || strcmp(name, SESSION_GC_LINK) != 0)
      continue;
    g_autofree char *layer = g_path_get_dirname(root->link);
    g_autofree char *parent = g_build_filename(layer, OVERLAYDIR_NAME, NULL);
    g_autofree char *data = g_build_filename(root->path, "rootfs", NULL);
    g_autoptr(GPtrArray) old = overlaydir_list_old(parent, data);
    for (guint k = 0; k < old->len; k++)
      search_add(search, LEFTOVER_OVERLAYDIR, g_strdup(old->pdata[k]),
                 g_strdup("it is of another version of nixstore"), measure_tree(old->pdata[k]));
  }
}

static gboolean
remove_overlaydir(const Leftover *leftover, GError **error)
{
  g_autofree char *parent = g_path_get_dirname(leftover->path);
  g_autofree char *layer = g_path_get_dirname(parent);
  g_autofree char *link = g_build_filename(layer, SESSION_GC_LINK, NULL);
  g_autofree char *path = g_file_read_link(link, NULL);
  g_autofree char *data = path ? g_build_filename(path, "rootfs", NULL) : NULL;
  return data && overlaydir_remove_old(leftover->path, data, error);
}

static void
find_failures(Search *search)
{
  char *path = failures_find_file();
  struct stat st;
  if (path)
    search_add(search, LEFTOVER_FAILURES, path, g_strdup("images that failed may be tried again"),
               lstat(path, &st) == 0 ? (guint64)st.st_blocks * 512 : 0);
}

static gboolean
remove_failures(const Leftover *leftover, GError **error)
{
  return unlink(leftover->path) == 0 || util_error_errno(error, "remove %s", leftover->path);
}

static const struct {
  const char *name;
  void (*find)(Search *search); /* NULL: found together with another kind */
  gboolean (*remove)(const Leftover *leftover, GError **error);
} kinds[] = {
    [LEFTOVER_INDEX] = {"index", find_in_cache, remove_from_cache},
    [LEFTOVER_VERDICT] = {"verdict", NULL, remove_from_cache},
    [LEFTOVER_REMNANT] = {"remnant", NULL, remove_from_cache},
    [LEFTOVER_SOCKET] = {"socket", find_sockets, remove_socket},
    [LEFTOVER_SCRATCH] = {"scratch", find_scratch, remove_scratch},
    [LEFTOVER_ROOT] = {"root", find_roots, remove_root},
    [LEFTOVER_OVERLAYDIR] = {"overlaydir", find_overlaydirs, remove_overlaydir},
    [LEFTOVER_FAILURES] = {"failures", find_failures, remove_failures},
};
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == LEFTOVER_N_KINDS);

const char *
leftover_kind_name(LeftoverKind kind)
{
  return kinds[kind].name;
}

GPtrArray *
leftovers_find(GPtrArray *problems)
{
  Search search = {g_ptr_array_new_with_free_func((GDestroyNotify)leftover_free), problems};
  for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
    if (kinds[i].find)
      kinds[i].find(&search);
  return search.found;
}

gboolean
leftover_remove(const Leftover *leftover, GError **error)
{
  return kinds[leftover->kind].remove(leftover, error);
}
