/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "util.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

gboolean command_quiet;
static gboolean command_uses_syslog;

gboolean
command_error_usage(GError **error, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  g_autofree char *text = g_strdup_vprintf(format, args);
  va_end(args);
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
  return FALSE;
}

void
command_note(const char *format, ...)
{
  if (command_quiet)
    return;
  va_list args;
  va_start(args, format);
  g_autofree char *text = g_strdup_vprintf(format, args);
  va_end(args);
  g_autofree char *line = util_escape(text);
  if (command_uses_syslog)
    syslog(LOG_USER | LOG_NOTICE, "%s", line);
  else
    fprintf(stderr, "nixstore: %s\n", line);
}

void
command_note_to_syslog(void)
{
  openlog("nixstore", LOG_PID, LOG_USER);
  command_uses_syslog = TRUE;
}
