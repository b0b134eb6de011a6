/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "scratch.h"
#include "util.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>

/* Not so short that a directory of the user's could be called that. */
#define SCRATCH_PREFIX "nixstore-scratch-"

#define HOLD_MAX_SECONDS 10

static GMutex signals_held; /* by scratch_hold_signals() */
static GMutex scratch_lock;
static GPtrArray *scratch_paths; /* of char *, what is to be removed; under scratch_lock */
static gboolean scratch_dying;   /* a signal is being dealt with; under scratch_lock */

static const int guarded_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void
guarded_set(sigset_t *set)
{
  sigemptyset(set);
  for (gsize i = 0; i < G_N_ELEMENTS(guarded_signals); i++)
    sigaddset(set, guarded_signals[i]);
}

/* Whoever writes to a pipe that nobody reads shall come to its end and tidy up. The signal then
 * waits for scratch_finish(). */
static void
mask_pipe_signal(int how)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(how, &set, NULL);
}

static void
wait_for_good(void)
{
  for (;;)
    pause();
}

/* A scratch directory's owner holds a lock on it: what can be locked is a dead process's. Whether
 * @path still is the locked directory @fd: somebody may have thought so of it just now. */
static gboolean
lock_directory(const char *path, int fd)
{
  struct stat locked, named;
  return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &locked) == 0 && lstat(path, &named) == 0 &&
         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

/* The scratch directory @path, open and locked, if its owner is dead and was of this user; else -1.
 */
static int
lock_stale(const char *path)
{
  struct stat st;
  autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || !lock_directory(path, fd))
    return -1;
  return util_steal_fd(&fd);
}

GPtrArray *
scratch_list_stale(const char *parent)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
  DIR *directory = opendir(parent);
  const struct dirent *entry;
  while (directory && (entry = readdir(directory)) != NULL) {
    if (!g_str_has_prefix(entry->d_name, SCRATCH_PREFIX) ||
        strlen(entry->d_name) != strlen(SCRATCH_PREFIX "XXXXXX"))
      continue;
    g_autofree char *path = g_build_filename(parent, entry->d_name, NULL);
    autofd int fd = lock_stale(path);
    if (fd >= 0)
      g_ptr_array_add(paths, g_steal_pointer(&path));
  }
  if (directory)
    closedir(directory);
  return paths;
}

gboolean
scratch_remove_stale(const char *path, GError **error)
{
  autofd int fd = lock_stale(path);
  return fd >= 0 && util_remove_tree(AT_FDCWD, path, error);
}

/* Removes what a process that was killed has left in @parent. Fails silently: it is not our doing.
 */
static void
remove_stale(const char *parent)
{
  g_autoptr(GPtrArray) paths = scratch_list_stale(parent);
  for (guint i = 0; i < paths->len; i++)
    scratch_remove_stale(paths->pdata[i], NULL);
}

typedef gboolean (*MakeFunction)(char *template, int *ret_fd);

static gboolean
make_directory(char *template, int *ret_fd)
{
  gsize prefix = strlen(template) - strlen("XXXXXX");
  for (int attempt = 0; attempt < 100; attempt++) {
    memset(template + prefix, 'X', strlen("XXXXXX"));
    if (!mkdtemp(template))
      return FALSE;
    autofd int fd = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && lock_directory(template, fd)) {
      *ret_fd = util_steal_fd(&fd);
      return TRUE;
    }
  }
  return FALSE;
}

static gboolean
make_file(char *template, int *ret_fd)
{
  *ret_fd = mkostemp(template, O_CLOEXEC);
  return *ret_fd >= 0;
}

/* Makes what @template (freed) names and notes it for removal, as one step to the signal thread. */
static Scratch *
scratch_make(char *template, MakeFunction make)
{
  g_autofree char *path = template;
  int fd = -1;
  g_mutex_lock(&scratch_lock);
  gboolean made = !scratch_dying && make(path, &fd);
  if (made) {
    if (!scratch_paths)
      scratch_paths = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(scratch_paths, g_strdup(path));
  }
  g_mutex_unlock(&scratch_lock);
  if (!made)
    return NULL;
  Scratch *scratch = g_new0(Scratch, 1);
  scratch->path = g_steal_pointer(&path);
  scratch->fd = fd;
  return scratch;
}

static const char *
scratch_parent(void)
{
  const char *parent = g_getenv("TMPDIR");
  return parent && *parent == '/' ? parent : "/var/tmp";
}

Scratch *
scratch_new(GError **error)
{
  return scratch_new_in(scratch_parent(), error);
}

int
scratch_open_file(GError **error)
{
  const char *parent = scratch_parent();
  int fd = open(parent, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0)
    return fd;
  /* Not every filesystem can: open(2). */
  g_autofree char *template = g_build_filename(parent, SCRATCH_PREFIX "XXXXXX", NULL);
  fd = mkostemp(template, O_CLOEXEC);
  if (fd < 0)
    util_error_errno(error, "make a file in the temporary directory %s", parent);
  else
    unlink(template);
  return fd;
}

Scratch *
scratch_new_in(const char *parent, GError **error)
{
  remove_stale(parent);
  Scratch *scratch =
      scratch_make(g_build_filename(parent, SCRATCH_PREFIX "XXXXXX", NULL), make_directory);
  if (!scratch)
    util_error_errno(error, "make a temporary directory in %s", parent);
  return scratch;
}

Scratch *
scratch_new_beside(const char *destination, gboolean directory, GError **error)
{
  Scratch *scratch = scratch_make(g_strconcat(destination, ".XXXXXX", NULL),
                                  directory ? make_directory : make_file);
  if (!scratch) {
    util_error_errno(error, "write %s", destination);
    return NULL;
  }
  mode_t mask = umask(0);
  umask(mask);
  fchmod(scratch->fd, (directory ? 0777 : 0666) & ~mask);
  return scratch;
}

static void
scratch_forget(const char *path)
{
  g_mutex_lock(&scratch_lock);
  for (guint i = 0; i < scratch_paths->len; i++)
    if (g_str_equal(scratch_paths->pdata[i], path)) {
      g_ptr_array_remove_index_fast(scratch_paths, i);
      break;
    }
  g_mutex_unlock(&scratch_lock);
}

gboolean
scratch_commit(Scratch *scratch, const char *destination, GError **error)
{
  g_autofree char *parent = g_path_get_dirname(destination);
  autofd int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fsync(scratch->fd) < 0 || rename(scratch->path, destination) < 0)
    return util_error_errno(error, "write %s", destination);
  scratch_forget(scratch->path);
  g_clear_pointer(&scratch->path, g_free);
  if (parent_fd < 0 || fsync(parent_fd) < 0)
    return util_error_errno(error, "flush %s", parent);
  return TRUE;
}

static gboolean
directory_is_empty(const char *path)
{
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  return dir && !g_dir_read_name(dir);
}

Scratch *
scratch_new_within(const char *directory, GError **error)
{
  remove_stale(directory);
  if (!directory_is_empty(directory)) {
    util_error(error, NIXSTORE_ERROR_FAILED, "write %s: it exists and is not an empty directory",
               directory);
    return NULL;
  }
  Scratch *scratch =
      scratch_make(g_build_filename(directory, SCRATCH_PREFIX "XXXXXX", NULL), make_directory);
  if (!scratch)
    util_error_errno(error, "write %s", directory);
  return scratch;
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gboolean
move_entries(int from_fd, int to_fd, const char *directory, GError **error)
{
  g_autoptr(GPtrArray) names = util_list_directory(from_fd, directory, error);
  if (!names)
    return FALSE;
  g_ptr_array_sort(names, compare_names);
  for (guint i = 0; i < names->len; i++)
    if (renameat2(from_fd, names->pdata[i], to_fd, names->pdata[i], RENAME_NOREPLACE) < 0)
      return util_error_errno(error, "write %s/%s", directory, (char *)names->pdata[i]);
  return TRUE;
}

gboolean
scratch_commit_within(Scratch *scratch, const char *directory, GError **error)
{
  autofd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(scratch->fd) < 0)
    return util_error_errno(error, "write %s", directory);
  scratch_hold_signals();
  gboolean ok = move_entries(scratch->fd, fd, directory, error);
  scratch_release_signals();
  return ok && (fsync(fd) == 0 || util_error_errno(error, "flush %s", directory));
}

void
scratch_free(Scratch *scratch)
{
  if (!scratch)
    return;
  if (scratch->path) {
    util_remove_tree(AT_FDCWD, scratch->path, NULL);
    scratch_forget(scratch->path);
  }
  /* The lock lasts as long as the removal: nobody else need help, or wait for it. */
  util_close_fd(&scratch->fd);
  g_free(scratch->path);
  g_free(scratch);
}

/* The other threads go on writing until the process ends: an attempt may find the directory filled
 * again, but the first one that gets its root leaves them nowhere to write to. */
static void
remove_all(void)
{
  for (guint i = 0; scratch_paths && i < scratch_paths->len; i++)
    for (int attempt = 0; attempt < 100; attempt++) {
      if (util_remove_tree(AT_FDCWD, scratch_paths->pdata[i], NULL))
        break;
      g_usleep(5000);
    }
}

void
scratch_hold_signals(void)
{
  g_mutex_lock(&signals_held);
}

void
scratch_release_signals(void)
{
  g_mutex_unlock(&signals_held);
}

static void
wait_for_release(void)
{
  for (int i = 0; i < HOLD_MAX_SECONDS * 20; i++) {
    if (g_mutex_trylock(&signals_held))
      return;
    g_usleep(G_USEC_PER_SEC / 20);
  }
}

static gpointer
signal_thread(gpointer unused)
{
  sigset_t set;
  int number = 0;
  guarded_set(&set);
  while (sigwait(&set, &number) != 0)
    ;
  wait_for_release();
  g_mutex_lock(&scratch_lock);
  scratch_dying = TRUE;
  remove_all();
  /* The lock stays ours: nobody makes another directory. */
  signal(number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  kill(getpid(), number);
  wait_for_good();
  return NULL;
}

void
scratch_guard_signals(void)
{
  sigset_t set;
  guarded_set(&set);
  /* Who started us with a signal ignored (nohup) wants it ignored. */
  for (gsize i = 0; i < G_N_ELEMENTS(guarded_signals); i++) {
    struct sigaction action;
    if (sigaction(guarded_signals[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN)
      sigdelset(&set, guarded_signals[i]);
  }
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  mask_pipe_signal(SIG_BLOCK);
  g_thread_unref(g_thread_new("signals", signal_thread, NULL));
}

void
scratch_child_setup(void *unused)
{
  sigset_t set;
  guarded_set(&set);
  sigaddset(&set, SIGPIPE);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
scratch_finish(void)
{
  g_mutex_lock(&scratch_lock);
  gboolean dying = scratch_dying;
  g_mutex_unlock(&scratch_lock);
  if (dying)
    wait_for_good();
  mask_pipe_signal(SIG_UNBLOCK);
}
