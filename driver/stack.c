/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "stack.h"

#include <dirent.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

#define STACK_LINKS "l"
/* containers/storage's link names have 26 characters (drivers/overlay/overlay.go, idLength). */
#define STACK_LINK_MAX 64

static void
stack_layer_free(gpointer data)
{
  StackLayer *layer = data;

  util_close_fd(&layer->fd);
  g_free(layer->path);
  g_free(layer->home);
  g_free(layer->id);
  reference_free(layer->reference);
  g_free(layer);
}

void
stack_free(Stack *stack)
{
  if (!stack)
    return;
  g_free(stack->home);
  g_clear_pointer(&stack->layers, g_ptr_array_unref);
  g_free(stack);
}

/* Where the descriptor @fd really is. */
static char *
stack_resolve_path(int fd, GError **error)
{
  char name[32], path[PATH_MAX];

  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  gssize size = readlink(name, path, sizeof path);
  if (size < 0 || size == sizeof path) {
    util_error_errno(error, "find a directory's path");
    return NULL;
  }
  return g_strndup(path, (gsize)size);
}

/* Whether @path is the home of a containers/storage driver that nobody but root and the user writes
 * to; returns it open, or -1. */
static int
stack_open_home(const char *path)
{
  struct stat st;
  autofd int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0)
    return -1;
  if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
    return -1;
  if (fstatat(fd, STACK_LINKS, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
    return -1;
  return util_steal_fd(&fd);
}

/* Whether @home_fd has the layer @id in its books: <id>/link names a link in l/ that leads back to
 * its "diff" ("diff1" and so on have none of their own). */
static gboolean
stack_home_has_layer(int home_fd, const char *id)
{
  char name[STACK_LINK_MAX + 1], target[PATH_MAX];
  g_autofree char *path = g_build_filename(id, "link", NULL);
  autofd int fd = util_openat2(home_fd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0,
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  gssize size = fd < 0 ? -1 : read(fd, name, STACK_LINK_MAX);

  if (size <= 0)
    return FALSE;
  name[size] = '\0';
  g_strchomp(name);
  if (!tree_name_is_valid(name))
    return FALSE;
  g_autofree char *link = g_build_filename(STACK_LINKS, name, NULL);
  g_autofree char *expected = g_build_filename("..", id, "diff", NULL);
  size = readlinkat(home_fd, link, target, sizeof target - 1);
  if (size < 0)
    return FALSE;
  target[size] = '\0';
  return strcmp(target, expected) == 0;
}

/* Takes the last component off @path and returns it; NULL when there is none to take. */
static const char *
stack_cut_component(char *path)
{
  char *slash = strrchr(path, '/');

  if (!slash || slash == path || !slash[1])
    return NULL;
  *slash = '\0';
  return slash + 1;
}

static gboolean
stack_is_digits(const char *text)
{
  return *text && strspn(text, "0123456789") == strlen(text);
}

/* Splits "<home>/<id>/diff<n>", or Podman 4.3's "<home>/<container>/mapped/<n>/<id>/diff<n>", an
 * idmapped view of the same, into the three parts. Purely text. */
static gboolean
stack_split_path(const char *path, char **ret_home, char **ret_id, char **ret_base)
{
  g_autofree char *home = g_strdup(path);
  g_autofree char *base = g_strdup(stack_cut_component(home));

  if (!base || !g_str_has_prefix(base, "diff") || (base[4] && !stack_is_digits(base + 4)))
    return FALSE;
  g_autofree char *id = g_strdup(stack_cut_component(home));
  if (!id)
    return FALSE;
  g_autofree char *mapped = g_strdup(home);
  const char *number = stack_cut_component(mapped);
  const char *word = number && stack_is_digits(number) ? stack_cut_component(mapped) : NULL;
  if (word && strcmp(word, "mapped") == 0 && stack_cut_component(mapped)) {
    g_free(home);
    home = g_steal_pointer(&mapped);
  }
  *ret_home = g_steal_pointer(&home);
  *ret_id = g_steal_pointer(&id);
  *ret_base = g_steal_pointer(&base);
  return TRUE;
}

static gboolean
stack_same_directory(int a, int b)
{
  struct stat sa, sb;

  return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
         sa.st_ino == sb.st_ino;
}

/* Finds out whether @layer, whose path is resolved, is a home's, and if so makes it that home's own
 * directory rather than whatever view of it we were given. Sets *ret_base. */
static void
stack_layer_identify(StackLayer *layer, char **ret_base)
{
  g_autofree char *home = NULL;
  g_autofree char *id = NULL;
  g_autofree char *base = NULL;

  if (!stack_split_path(layer->path, &home, &id, &base))
    return;
  autofd int home_fd = stack_open_home(home);
  if (home_fd < 0 || !stack_home_has_layer(home_fd, id))
    return;
  g_autofree char *relative = g_build_filename(id, base, NULL);
  autofd int fd = util_openat2(home_fd, relative, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd < 0 || !stack_same_directory(fd, layer->fd))
    return;
  util_close_fd(&layer->fd);
  layer->fd = util_steal_fd(&fd);
  g_free(layer->path);
  layer->path = g_build_filename(home, relative, NULL);
  layer->home = g_steal_pointer(&home);
  layer->id = g_steal_pointer(&id);
  *ret_base = g_steal_pointer(&base);
}

/* A layer that was once an upper has overlayfs's own directory in its work directory. */
static gboolean
stack_layer_was_upper(const StackLayer *layer)
{
  g_autofree char *work = g_build_filename(layer->home, layer->id, "work", "work", NULL);

  return access(work, F_OK) == 0;
}

static StackLayer *
stack_layer_open(const Stack *stack, const char *path, GError **error)
{
  StackLayer *layer = g_new0(StackLayer, 1);
  g_autofree char *base = NULL;

  layer->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (layer->fd < 0) {
    g_autofree char *text = util_escape(path);
    util_error_errno(error, "open the lower directory %s", text);
    stack_layer_free(layer);
    return NULL;
  }
  layer->path = stack_resolve_path(layer->fd, error);
  if (!layer->path) {
    stack_layer_free(layer);
    return NULL;
  }
  stack_layer_identify(layer, &base);
  layer->is_own = layer->home && stack->home && strcmp(layer->home, stack->home) == 0;
  if (layer->is_own && strcmp(base, "diff") == 0 &&
      !reference_read(layer->fd, &layer->reference, error)) {
    g_prefix_error(error, "layer %s: ", layer->id);
    stack_layer_free(layer);
    return NULL;
  }
  return layer;
}

/* The working directory, if it is a driver's home. */
static char *
stack_find_home(void)
{
  autofd int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  g_autofree char *path = here < 0 ? NULL : stack_resolve_path(here, NULL);
  autofd int home = path ? stack_open_home(path) : -1;

  return home < 0 ? NULL : g_steal_pointer(&path);
}

Stack *
stack_open(const char *const *lowers, gboolean has_upper, GError **error)
{
  g_autoptr(Stack) stack = g_new0(Stack, 1);

  stack->home = stack_find_home();
  stack->layers = g_ptr_array_new_with_free_func(stack_layer_free);
  for (; *lowers; lowers++) {
    StackLayer *layer = stack_layer_open(stack, *lowers, error);
    if (!layer)
      return NULL;
    /* A layer that others stand on does not change any more; the topmost may be a container's. */
    layer->is_mutable =
        stack->layers->len == 0 && !has_upper && layer->home && stack_layer_was_upper(layer);
    g_ptr_array_add(stack->layers, layer);
  }
  return g_steal_pointer(&stack);
}

gboolean
stack_layer_is_empty(const StackLayer *layer, gboolean *ret_empty, GError **error)
{
  autofd int fd = openat(layer->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  const struct dirent *entry;

  if (!dir)
    return util_error_errno(error, "read the directory %s", layer->path);
  util_steal_fd(&fd);
  /* Not the whole of it: it may be a user's, of any size. */
  do
    errno = 0, entry = readdir(dir);
  while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
  gboolean ok =
      entry || errno == 0 || util_error_errno(error, "read the directory %s", layer->path);
  closedir(dir);
  if (ok)
    *ret_empty = !entry;
  return ok;
}
