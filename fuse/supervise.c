/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "supervise.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "util.h"

/* After so many deaths of its own doing within so many seconds, a server is started that answers
 * everything with EIO: a truncated index kills whoever reads it, and nobody is to wait for ever. */
#define SUPERVISE_MAX_CRASHES 3
#define SUPERVISE_CRASH_WINDOW (10 * G_USEC_PER_SEC)
/* Until a server is started that replaces one which died of itself: what it died of, as a disk that
 * could not be read, may pass. */
#define SUPERVISE_CRASH_DELAY G_USEC_PER_SEC
/* How often a server is tried again where there is no room for a process or its descriptors. */
#define SUPERVISE_RETRY (G_USEC_PER_SEC / 5)
/* Exit status of a server that had no room for its descriptors. */
#define SUPERVISE_NO_ROOM 75

typedef struct {
  const Supervision *what;
  int *clones;     /* what->threads of them; -1 where the server opens its own */
  int signals;     /* signalfd(2) */
  pid_t child;     /* 0: there is none */
  gint64 start_at; /* when one is to be started, where there is none (monotonic time) */
  gint64 crashes[SUPERVISE_MAX_CRASHES]; /* when, the latest last */
} Supervisor;

static gboolean
supervisor_open_clones(const Supervision *what, int *clones, GError **error)
{
  for (guint i = 0; i < what->threads; i++) {
    clones[i] = channel_clone(what->channel);
    if (clones[i] < 0)
      return util_error_errno(error, "clone the descriptor of /dev/fuse");
  }
  return TRUE;
}

/* The child: a server and nothing else. */
static int
supervisor_serve(Supervisor *supervisor)
{
  const Supervision *what = supervisor->what;
  g_autoptr(GError) error = NULL;
  sigset_t none;

  prctl(PR_SET_NAME, "nixstore-fuse");
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  util_close_fd(&supervisor->signals);
  share_forget(what->share);
  what->forget(what->delivery);
  if (!what->channel->can_resend && !supervisor_open_clones(what, supervisor->clones, &error))
    return SUPERVISE_NO_ROOM;
  if (serve_run(what->server, what->channel, supervisor->clones, what->threads, &error))
    return 0;
  g_printerr("nixstore-fuse: %s\n", error->message);
  return 1;
}

static gboolean
supervisor_start(Supervisor *supervisor, GError **error)
{
  pid_t child = fork();

  if (child < 0)
    return util_error_errno(error, "start a server process");
  if (child == 0)
    _exit(supervisor_serve(supervisor));
  supervisor->child = child;
  return TRUE;
}

/* Whoever has the filesystem mounted has nobody else: where the limit of processes or memory leaves
 * no room (EAGAIN, ENOMEM), they wait with us until there is. We answer the socket meanwhile, as
 * who asks there has all others of this user wait. Returns FALSE when the filesystem has ended. */
static gboolean
supervisor_start_again(Supervisor *supervisor)
{
  if (channel_has_ended(supervisor->what->channel))
    return FALSE;
  if (!supervisor_start(supervisor, NULL))
    supervisor->start_at = g_get_monotonic_time() + SUPERVISE_RETRY;
  return TRUE;
}

/* Milliseconds until there is something to do without being told; -1: never. */
static int
supervisor_timeout(const Supervisor *supervisor)
{
  gint64 left = supervisor->start_at - g_get_monotonic_time();

  if (supervisor->child)
    return -1;
  return left > 0 ? (int)(left / 1000) + 1 : 0;
}

/* Killed from outside is what we are here for; anything else is the server's own doing. */
static gboolean
supervisor_is_crash(int status)
{
  return !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM &&
                                  WTERMSIG(status) != SIGINT && WTERMSIG(status) != SIGHUP);
}

static void
supervisor_note_crash(Supervisor *supervisor)
{
  gint64 now = g_get_monotonic_time();
  gint64 *crashes = supervisor->crashes;

  memmove(crashes, crashes + 1, (SUPERVISE_MAX_CRASHES - 1) * sizeof *crashes);
  crashes[SUPERVISE_MAX_CRASHES - 1] = now;
  if (crashes[0] != 0 && now - crashes[0] < SUPERVISE_CRASH_WINDOW) {
    supervisor->what->server->is_broken = TRUE;
    /* Who comes now gets a server that tries again. */
    share_retire(supervisor->what->share);
  } else {
    supervisor->start_at = now + SUPERVISE_CRASH_DELAY;
  }
}

/* Returns FALSE when the filesystem has ended. */
static gboolean
supervisor_reap(Supervisor *supervisor)
{
  int status;

  if (!supervisor->child || waitpid(supervisor->child, &status, WNOHANG) != supervisor->child)
    return TRUE;
  supervisor->child = 0;
  supervisor->start_at = g_get_monotonic_time();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return FALSE;
  if (WIFEXITED(status) && WEXITSTATUS(status) == SUPERVISE_NO_ROOM)
    supervisor->start_at += SUPERVISE_RETRY;
  else if (supervisor_is_crash(status))
    supervisor_note_crash(supervisor);
  if (supervisor->what->channel->can_resend)
    channel_resend(supervisor->what->channel);
  return TRUE;
}

/* Returns FALSE when the filesystem has ended. */
static gboolean
supervisor_take_signal(Supervisor *supervisor)
{
  struct signalfd_siginfo info;

  if (read(supervisor->signals, &info, sizeof info) != sizeof info)
    return TRUE;
  if (info.ssi_signo == SIGCHLD)
    return supervisor_reap(supervisor);
  /* The server goes when nobody uses the filesystem any more. */
  if (supervisor->what->target && info.ssi_signo != SIGHUP)
    umount2(supervisor->what->target, MNT_DETACH | UMOUNT_NOFOLLOW);
  return TRUE;
}

static gboolean
supervisor_loop(Supervisor *supervisor, GError **error)
{
  const Supervision *what = supervisor->what;
  for (;;) {
    struct pollfd fds[] = {
        {.fd = supervisor->signals, .events = POLLIN},
        {.fd = what->share->listener, .events = POLLIN},
    };
    if (poll(fds, G_N_ELEMENTS(fds), supervisor_timeout(supervisor)) < 0 && errno != EINTR)
      return util_error_errno(error, "wait for signals");
    if (fds[0].revents && !supervisor_take_signal(supervisor))
      return TRUE;
    if (supervisor_timeout(supervisor) == 0 && !supervisor_start_again(supervisor))
      return TRUE;
    if (fds[1].revents)
      share_answer(what->share, what->channel);
  }
}

/* All that may fail, before anybody has the mount. */
static gboolean
supervisor_begin(Supervisor *supervisor, GError **error)
{
  const Supervision *what = supervisor->what;
  sigset_t signals;

  if (what->channel->can_resend && !supervisor_open_clones(what, supervisor->clones, error))
    return FALSE;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  supervisor->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (supervisor->signals < 0)
    return util_error_errno(error, "wait for signals");
  /* Not what somebody means who kills "nixstore-fuse" by name. */
  prctl(PR_SET_NAME, "nixstore-keeper");
  return supervisor_start(supervisor, error) && what->deliver(what->delivery, error);
}

gboolean
supervise_run(const Supervision *supervision, GError **error)
{
  g_autofree int *clones = g_new(int, supervision->threads);
  Supervisor supervisor = {.what = supervision, .clones = clones, .signals = -1};
  gboolean ok = FALSE;

  if (supervisor_begin(&supervisor, error)) {
    ok = supervisor_loop(&supervisor, error);
    share_close(supervision->share);
  } else {
    share_abandon(supervision->share);
  }
  util_close_fd(&supervisor.signals);
  return ok;
}
