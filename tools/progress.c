/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "progress.h"
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_USEC (G_USEC_PER_SEC / 10)
#define BAR_MAX 40

struct Progress {
  const char *label;
  gboolean shown; /* on a terminal */
  GMutex lock;    /* of what follows */
  gint64 drawn;   /* when, monotonic */
  gboolean dirty; /* something is on the line */
};

Progress *
progress_new(const char *label)
{
  Progress *progress = g_new0(Progress, 1);
  const char *term = g_getenv("TERM");
  progress->label = label;
  progress->shown = !command_quiet && isatty(STDERR_FILENO) && !(term && g_str_equal(term, "dumb"));
  g_mutex_init(&progress->lock);
  return progress;
}

gboolean
progress_is_shown(const Progress *progress)
{
  return progress->shown;
}

static int
terminal_width(void)
{
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void
draw(Progress *progress, guint64 done, guint64 total)
{
  g_autofree char *amount = g_format_size_full(done, G_FORMAT_SIZE_IEC_UNITS);
  GString *line = g_string_new("\r");
  int room = terminal_width() - 1;
  int bar = CLAMP(room - (int)strlen(progress->label) - 24, 0, BAR_MAX);
  g_string_append(line, progress->label);
  if (total > 0 && bar >= 5) {
    double part = MIN(1.0, (double)done / (double)total);
    int full = (int)(part * bar);
    g_string_append(line, " [");
    for (int i = 0; i < bar; i++)
      g_string_append_c(line, i < full ? '#' : '.');
    g_string_append_printf(line, "] %3d%%", (int)(part * 100));
  }
  g_string_append_printf(line, " %s", amount);
  if ((int)line->len > room)
    g_string_truncate(line, room);
  fprintf(stderr, "%s\033[K", line->str);
  fflush(stderr);
  g_string_free(line, TRUE);
}

void
progress_set(Progress *progress, guint64 done, guint64 total)
{
  if (!progress->shown)
    return;
  g_mutex_lock(&progress->lock);
  gint64 now = g_get_monotonic_time();
  if (now - progress->drawn >= REDRAW_USEC) {
    draw(progress, done, total);
    progress->drawn = now;
    progress->dirty = TRUE;
  }
  g_mutex_unlock(&progress->lock);
}

void
progress_free(Progress *progress)
{
  if (!progress)
    return;
  if (progress->dirty) {
    fputs("\r\033[K", stderr);
    fflush(stderr);
  }
  g_mutex_clear(&progress->lock);
  g_free(progress);
}
