/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "child-reads.h"

#include <string.h>

/* proc_pid_io(5): what read(2) and its like have given, from wherever it came. */
#define READ_LABEL "rchar: "

static guint64
process_reads(const char *pid)
{
  g_autofree char *path = g_strdup_printf("/proc/%s/io", pid);
  g_autofree char *text = NULL;

  if (!g_file_get_contents(path, &text, NULL, NULL) || !g_str_has_prefix(text, READ_LABEL))
    return 0;
  return g_ascii_strtoull(text + strlen(READ_LABEL), NULL, 10);
}

guint64
child_reads_of_thread(pid_t tid)
{
  g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children", (int)tid);
  g_autofree char *text = NULL;
  g_auto(GStrv) pids = NULL;
  guint64 total = 0;

  if (!g_file_get_contents(path, &text, NULL, NULL))
    return 0;
  pids = g_strsplit(g_strstrip(text), " ", -1);
  for (char **pid = pids; *pid != NULL; pid++)
    total += process_reads(*pid);
  return total;
}
