/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * peak COMMAND...: runs COMMAND and prints its wall time in microseconds and its peak resident set
 * in KiB. A program of its own because ru_maxrss begins with the size of whoever forked (exec(2)
 * folds the old address space in): a large parent would be measured, not the command.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
  struct timespec start, end;
  struct rusage usage;
  int status;
  pid_t pid;

  if (argc < 2)
    return 2;
  clock_gettime(CLOCK_MONOTONIC, &start);
  pid = fork();
  if (pid == 0) {
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    _exit(127);
  }
  if (pid < 0 || wait4(pid, &status, 0, &usage) < 0)
    return 1;
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%ld %ld\n", (end.tv_sec - start.tv_sec) * 1000000L + (end.tv_nsec - start.tv_nsec) / 1000,
         usage.ru_maxrss);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
