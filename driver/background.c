/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "background.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "util.h"

/* Microseconds: the container that was mounted for starts meanwhile. The lowest priority alone did
 * not spare it: on two processors that share a core, and a disk with a queue, it took a sixth
 * longer. */
#define BACKGROUND_DELAY (1 * G_USEC_PER_SEC)
/* ioprio_set(2): this process, class "idle". */
#define BACKGROUND_IOPRIO_PROCESS 1
#define BACKGROUND_IOPRIO_IDLE (3 << 13)

static void
background_become(BackgroundWork work, gpointer data, int keep_fd)
{
  const struct sched_param none = {0};
  int null = open("/dev/null", O_RDWR);

  setsid();
  /* Who calls waits for the end of these. */
  if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
      dup2(null, STDERR_FILENO) < 0 || chdir("/") < 0)
    _exit(1);
  if (keep_fd > STDERR_FILENO + 1)
    close_range(STDERR_FILENO + 1, (unsigned)keep_fd - 1, 0);
  close_range(MAX((unsigned)keep_fd, STDERR_FILENO) + 1, ~0U, 0);
  setpriority(PRIO_PROCESS, 0, 19);
  sched_setscheduler(0, SCHED_IDLE, &none);
  syscall(SYS_ioprio_set, BACKGROUND_IOPRIO_PROCESS, 0, BACKGROUND_IOPRIO_IDLE);
  prctl(PR_SET_NAME, "nixstore-later");
  g_usleep(BACKGROUND_DELAY);
  work(data);
  _exit(0);
}

void
background_run(BackgroundWork work, gpointer data, int keep_fd)
{
  pid_t child = fork();

  /* Twice, so that it is not our caller's child. */
  if (child == 0) {
    if (fork() == 0)
      background_become(work, data, keep_fd);
    _exit(0);
  }
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
    ;
}
