/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "scratch.h"
#include "util.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

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

static void
wait_for_good(void)
{
  for (;;)
    pause();
}

Scratch *
scratch_new(GError **error)
{
  const char *parent = g_getenv("TMPDIR");
  if (!parent || *parent != '/')
    parent = "/var/tmp";
  g_autofree char *path = g_build_filename(parent, "nixstore-XXXXXX", NULL);

  g_mutex_lock(&scratch_lock);
  gboolean made = !scratch_dying && mkdtemp(path);
  if (made) {
    if (!scratch_paths)
      scratch_paths = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(scratch_paths, g_strdup(path));
  }
  g_mutex_unlock(&scratch_lock);
  if (!made) {
    util_error_errno(error, "make a temporary directory in %s", parent);
    return NULL;
  }
  Scratch *scratch = g_new0(Scratch, 1);
  scratch->path = g_steal_pointer(&path);
  scratch->fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (scratch->fd < 0) {
    util_error_errno(error, "open %s", scratch->path);
    scratch_free(scratch);
    return NULL;
  }
  return scratch;
}

void
scratch_free(Scratch *scratch)
{
  if (!scratch)
    return;
  util_close_fd(&scratch->fd);
  util_remove_tree(AT_FDCWD, scratch->path, NULL);
  g_mutex_lock(&scratch_lock);
  for (guint i = 0; i < scratch_paths->len; i++)
    if (g_str_equal(scratch_paths->pdata[i], scratch->path)) {
      g_ptr_array_remove_index_fast(scratch_paths, i);
      break;
    }
  g_mutex_unlock(&scratch_lock);
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

static gpointer
signal_thread(gpointer unused)
{
  sigset_t set;
  int number = 0;
  guarded_set(&set);
  while (sigwait(&set, &number) != 0)
    ;
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
  g_thread_unref(g_thread_new("signals", signal_thread, NULL));
}

void
scratch_child_setup(void *unused)
{
  sigset_t set;
  guarded_set(&set);
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
}
