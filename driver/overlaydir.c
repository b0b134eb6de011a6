/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "overlaydir.h"

#include <limits.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "idmap.h"
#include "index.h"
#include "mountapi.h"
#include "util.h"

/* Changes whenever what is written for the same index does. */
#define OVERLAYDIR_VERSION 2
#define OVERLAYDIR_PREFIX                                                                          \
  "v" G_STRINGIFY(OVERLAYDIR_VERSION) "." G_STRINGIFY(INDEX_FORMAT_VERSION) "-"
#define OVERLAYDIR_KEY_SIZE 32
#define OVERLAYDIR_OLD ".old"
#define OVERLAYDIR_FAILED ".failed"
/* Characters of a store path's name that are its hash, and the dash. */
#define OVERLAYDIR_STORE_HASH 33
#define OVERLAYDIR_MAX_MESSAGE 4096
/* For Podman's lock, 30 seconds in all; in microseconds. */
#define OVERLAYDIR_LOCK_WAIT 10000
#define OVERLAYDIR_LOCK_TRIES 3000

static void
overlaydir_append_ranges(GString *text, const char *name, const GArray *ranges)
{
  g_string_append(text, name);
  for (guint i = 0; ranges && i < ranges->len; i++) {
    const IdRange *range = &g_array_index(ranges, IdRange, i);
    g_string_append_printf(text, " %u:%u:%u", range->container, range->host, range->size);
  }
  g_string_append_c(text, '\n');
}

char *
overlaydir_key(const char *identity, const GArray *uids, const GArray *gids)
{
  g_autoptr(GString) text = g_string_new(NULL);

  g_string_printf(text, "%s\n", identity);
  overlaydir_append_ranges(text, "uids", uids);
  overlaydir_append_ranges(text, "gids", gids);
  for (guint i = 0; i < 2; i++) {
    g_autofree char *map = NULL;
    if (g_file_get_contents(i ? "/proc/self/gid_map" : "/proc/self/uid_map", &map, NULL, NULL))
      g_string_append(text, map);
  }
  g_autofree char *digest = util_sha256_hex(text->str, text->len);
  return g_strdup_printf(OVERLAYDIR_PREFIX "%.*s", OVERLAYDIR_KEY_SIZE, digest);
}

/* The directory that holds those of a layer: only we may write to it. */
static int
overlaydir_open_parent(const char *path, gboolean create, GError **error)
{
  g_autofree char *parent = g_path_get_dirname(path);
  struct stat st;

  if (create && mkdir(parent, 0700) < 0 && errno != EEXIST) {
    util_error_errno(error, "make the directory %s", parent);
    return -1;
  }
  autofd int fd = open(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0) {
    util_error_errno(error, "open the directory %s", parent);
    return -1;
  }
  if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
    util_error(error, NIXSTORE_ERROR_UNTRUSTED, "%s may be written to by others: not trusted",
               parent);
    return -1;
  }
  return util_steal_fd(&fd);
}

int
overlaydir_open(const char *path, GError **error)
{
  g_autofree char *name = g_path_get_basename(path);
  g_autoptr(GError) local = NULL;
  autofd int parent = overlaydir_open_parent(path, FALSE, &local);

  if (parent < 0 && !g_error_matches(local, NIXSTORE_ERROR, NIXSTORE_ERROR_NOT_FOUND)) {
    g_propagate_error(error, g_steal_pointer(&local));
    return -1;
  }
  int fd = parent < 0 ? -1 : openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && (parent < 0 || errno == ENOENT))
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
               "mode overlaydir: the image's directory is not made yet");
  else if (fd < 0)
    util_error_errno(error, "open the directory %s", path);
  return fd;
}

/* What a kernel cannot do another may. */
static char *
overlaydir_describe_failure(const char *reason)
{
  struct utsname name;

  if (uname(&name) < 0)
    return NULL;
  return g_strdup_printf("%s\n%s\n", name.release, reason);
}

gboolean
overlaydir_is_wanted(const char *path)
{
  g_autofree char *parent = g_path_get_dirname(path);
  g_autofree char *failed = g_strconcat(path, OVERLAYDIR_FAILED, NULL);
  g_autofree char *text = NULL;
  g_autofree char *expected = overlaydir_describe_failure("");
  g_autoptr(GDir) directory = g_dir_open(parent, 0, NULL);
  guint count = 0;

  if (access(path, F_OK) == 0)
    return FALSE;
  for (const char *name = NULL; directory && (name = g_dir_read_name(directory));)
    count +=
        g_str_has_prefix(name, OVERLAYDIR_PREFIX) && !g_str_has_suffix(name, OVERLAYDIR_FAILED);
  if (count >= OVERLAYDIR_MAX)
    return FALSE;
  if (!expected || !g_file_get_contents(failed, &text, NULL, NULL))
    return TRUE;
  expected[strlen(expected) - 1] = '\0'; /* of the empty reason */
  return !g_str_has_prefix(text, expected);
}

/* Keeps Podman from removing the layer of @path meanwhile: it takes a directory away file by file,
 * and would find it filled again (ENOTEMPTY). containers/storage locks <home>-layers/layers.lock
 * for that, with fcntl(2). FALSE if somebody else has it for long, who may be waiting for us.
 * *ret_fd is -1 where there is nothing to lock. */
static gboolean
overlaydir_lock_layers(const char *path, int *ret_fd, GError **error)
{
  g_autofree char *parent = g_path_get_dirname(path);
  g_autofree char *layer = g_path_get_dirname(parent);
  g_autofree char *home = g_path_get_dirname(layer);
  g_autofree char *lock = g_strconcat(home, "-layers/layers.lock", NULL);
  autofd int fd = open(lock, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  struct flock read_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

  for (guint tries = 0; fd >= 0 && fcntl(fd, F_OFD_SETLK, &read_lock) < 0; tries++) {
    if (errno != EAGAIN && errno != EACCES)
      util_close_fd(&fd);
    else if (tries == OVERLAYDIR_LOCK_TRIES)
      return util_error(error, NIXSTORE_ERROR_FAILED, "%s is locked for long", lock);
    else
      g_usleep(OVERLAYDIR_LOCK_WAIT);
  }
  *ret_fd = util_steal_fd(&fd);
  return TRUE;
}

void
overlaydir_give_up(const char *path, const char *reason)
{
  g_autofree char *base = g_path_get_basename(path);
  g_autofree char *name = g_strconcat(base, OVERLAYDIR_FAILED, NULL);
  g_autofree char *text = overlaydir_describe_failure(reason);
  autofd int layers = -1;

  if (!text || !overlaydir_lock_layers(path, &layers, NULL))
    return;
  autofd int parent = overlaydir_open_parent(path, TRUE, NULL);
  if (parent >= 0)
    util_replace_file(parent, name, text, strlen(text), 0600, NULL);
}

/* Whether somebody has a mount above the data directory @data. mountinfo shows that by its path,
 * while a layer given by descriptor has none there. */
static gboolean
overlaydir_is_used(const char *data)
{
  g_autofree char *path = g_path_get_dirname(data);
  g_autofree char *name = g_path_get_basename(path);
  g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
  gboolean used = !proc;

  /* What follows the hash in a store path may be escaped there. */
  name[MIN(strlen(name), OVERLAYDIR_STORE_HASH)] = '\0';
  for (const char *pid = NULL; !used && (pid = g_dir_read_name(proc));) {
    g_autofree char *file = g_build_filename("/proc", pid, "mountinfo", NULL);
    g_autofree char *mounts = NULL;
    used = g_ascii_isdigit(*pid) && g_file_get_contents(file, &mounts, NULL, NULL) &&
           strstr(mounts, name);
  }
  return used;
}

GPtrArray *
overlaydir_list_old(const char *parent, const char *data)
{
  GPtrArray *old = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *any = g_build_filename(parent, OVERLAYDIR_PREFIX, NULL);
  autofd int fd = overlaydir_open_parent(any, FALSE, NULL);
  g_autoptr(GPtrArray) names = fd < 0 ? NULL : util_list_directory(fd, parent, NULL);

  for (guint i = 0; names && i < names->len; i++)
    if (!g_str_has_prefix(names->pdata[i], OVERLAYDIR_PREFIX))
      g_ptr_array_add(old, g_build_filename(parent, names->pdata[i], NULL));
  if (old->len > 0 && overlaydir_is_used(data))
    g_ptr_array_set_size(old, 0);
  return old;
}

gboolean
overlaydir_remove_old(const char *path, const char *data, GError **error)
{
  g_autofree char *name = g_path_get_basename(path);
  g_autofree char *aside = g_strconcat(name, OVERLAYDIR_OLD, NULL);
  autofd int parent = overlaydir_open_parent(path, FALSE, error);
  autofd int layers = -1;

  if (parent < 0 || overlaydir_is_used(data))
    return FALSE;
  /* Not half of it is there under its name, for whoever would still mount it. */
  if (!g_str_has_suffix(name, OVERLAYDIR_OLD)) {
    if (!overlaydir_lock_layers(path, &layers, error))
      return FALSE;
    if (renameat(parent, name, parent, aside) < 0)
      return errno == ENOENT || util_error_errno(error, "rename %s", path);
    util_close_fd(&layers);
  }
  return util_remove_tree(parent, g_str_has_suffix(name, OVERLAYDIR_OLD) ? name : aside, error);
}

/* ---------------------------------------------------------------- making ---- */

/* Opens @aside, makes it where it is missing, and locks it. */
static int
overlaydir_lock(const char *aside, gboolean wait, GError **error)
{
  struct stat st;

  for (;;) {
    if (!util_make_directory(aside, 0700, error))
      return -1;
    autofd int fd = open(aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
      continue;
    if (fd < 0) {
      util_error_errno(error, "open the directory %s", aside);
      return -1;
    }
    while (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0) {
      if (errno == EINTR)
        continue;
      util_error(error, NIXSTORE_ERROR_FAILED, "lock the directory %s: %s", aside,
                 g_strerror(errno));
      return -1;
    }
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)) {
      util_error(error, NIXSTORE_ERROR_UNTRUSTED, "%s must belong to you alone", aside);
      return -1;
    }
    /* Whoever had it before us took it away with its lock. */
    if (st.st_nlink > 0)
      return util_steal_fd(&fd);
  }
}

/* What was killed left it half made. */
static gboolean
overlaydir_empty(int fd, GError **error)
{
  g_autoptr(GPtrArray) names = util_list_directory(fd, "that is being made", error);
  gboolean ok = names != NULL;

  for (guint i = 0; ok && i < names->len; i++)
    ok = util_remove_tree(fd, g_ptr_array_index(names, i), error);
  return ok;
}

/* The directory, empty, as the root of the image's ids owns it. */
static int
overlaydir_create(int aside, const char *name, const GArray *uids, const GArray *gids,
                  GError **error)
{
  guint32 uid, gid;

  if (!idmap_map(uids, 0, &uid) || !idmap_map(gids, 0, &gid)) {
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "the id 0 is not mapped");
    return -1;
  }
  if (mkdirat(aside, name, 0700) < 0 || fchownat(aside, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) {
    util_error_errno(error, "make a directory for the image");
    return -1;
  }
  int fd = openat(aside, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    util_error_errno(error, "open the directory for the image");
  return fd;
}

/* The child that writes: in a user namespace where ids are those of the image, so that the kernel
 * maps them, in ACLs and file capabilities too. */
static void
overlaydir_work(int root_fd, int index_fd, int userns_fd, int message_fd)
{
  struct rlimit limit;
  g_autoptr(GError) error = NULL;

  /* A descriptor for each level of directories. */
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  umask(0);
  if (userns_fd >= 0 &&
      (setns(userns_fd, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
    util_error_errno(&error, "enter the user namespace of the id mapping");
  else if (overlaydir_write(root_fd, index_fd, &error) && syncfs(root_fd) < 0)
    util_error_errno(&error, "write the directory to disk");
  if (error) {
    g_autofree char *text = util_escape(error->message);
    dprintf(message_fd, "%c%s", error->code == NIXSTORE_ERROR_UNSUPPORTED ? 'u' : 'f', text);
  }
  _exit(error ? 1 : 0);
}

static gboolean
overlaydir_await(pid_t child, int message_fd, GError **error)
{
  char text[OVERLAYDIR_MAX_MESSAGE];
  int status = 0;
  gssize size;

  do
    size = read(message_fd, text, sizeof text - 1);
  while (size < 0 && errno == EINTR);
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return TRUE;
  text[MAX(size, 0)] = '\0';
  return util_error(error, *text == 'u' ? NIXSTORE_ERROR_UNSUPPORTED : NIXSTORE_ERROR_FAILED, "%s",
                    *text ? text + 1 : "the process that makes the directory was killed");
}

static gboolean
overlaydir_fill(int root_fd, int index_fd, int userns_fd, GError **error)
{
  int message[2];

  if (pipe2(message, O_CLOEXEC) < 0)
    return util_error_errno(error, "make a pipe");
  autofd int reader = message[0], writer = message[1];
  pid_t child = fork();
  if (child == 0)
    overlaydir_work(root_fd, index_fd, userns_fd, writer);
  util_close_fd(&writer);
  if (child < 0)
    return util_error_errno(error, "start a process");
  return overlaydir_await(child, reader, error);
}

/* Podman mounts the driver's home on itself while containers run, and rename(2) does not go from
 * one mount to another: both names by way of a mount that shows what lies below that. */
static gboolean
overlaydir_rename_below(const char *aside, const char *name, const char *path)
{
  g_autofree char *top = g_path_get_dirname(aside);
  g_autofree char *base = g_path_get_basename(aside);
  g_autofree char *from = g_build_filename(base, name, NULL);
  gsize length = strlen(top);
  autofd int fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0 || !g_str_has_prefix(path, top) || path[length] != '/') {
    errno = EXDEV;
    return FALSE;
  }
  autofd int clone_fd = mountapi_clone(fd, NULL);
  return clone_fd >= 0 &&
         renameat2(clone_fd, from, clone_fd, path + length + 1, RENAME_NOREPLACE) == 0;
}

static gboolean
overlaydir_publish(int aside_fd, const char *aside, const char *name, const char *path,
                   gboolean lock, GError **error)
{
  autofd int layers = -1;
  if (lock && !overlaydir_lock_layers(path, &layers, error))
    return FALSE;
  autofd int parent = overlaydir_open_parent(path, TRUE, error);

  if (parent < 0)
    return FALSE;
  if (renameat2(aside_fd, name, parent, name, RENAME_NOREPLACE) < 0 &&
      (errno != EXDEV || !overlaydir_rename_below(aside, name, path)))
    return util_error_errno(error, "rename the directory to %s", path);
  return fsync(parent) == 0 || util_error_errno(error, "sync the directory of %s", path);
}

static gboolean
overlaydir_make_locked(int aside_fd, const char *aside, const char *path, int index_fd,
                       const GArray *uids, const GArray *gids, gboolean lock, GError **error)
{
  g_autofree char *name = g_path_get_basename(path);
  autofd int userns_fd = -1;

  if (access(path, F_OK) == 0)
    return TRUE;
  if (!overlaydir_empty(aside_fd, error))
    return FALSE;
  if (uids) {
    userns_fd = idmap_open_userns(uids, gids, error);
    if (userns_fd < 0)
      return FALSE;
  }
  autofd int root_fd = overlaydir_create(aside_fd, name, uids, gids, error);
  if (root_fd >= 0 && overlaydir_fill(root_fd, index_fd, userns_fd, error) &&
      overlaydir_publish(aside_fd, aside, name, path, lock, error))
    return TRUE;
  overlaydir_empty(aside_fd, NULL);
  return FALSE;
}

gboolean
overlaydir_make(const char *path, const char *aside, int index_fd, const GArray *uids,
                const GArray *gids, gboolean wait, GError **error)
{
  autofd int fd = overlaydir_lock(aside, wait, error);

  if (fd < 0)
    return FALSE;
  /* Who waits does so within a mount, during which Podman has its lock itself. */
  gboolean ok = overlaydir_make_locked(fd, aside, path, index_fd, uids, gids, !wait, error);
  rmdir(aside);
  if (!ok)
    g_prefix_error(error, "mode overlaydir: ");
  return ok;
}
