/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "run.h"
#include "scratch.h"
#include "util.h"

#include <string.h>
#include <sys/wait.h>

/* The message in a line of logrus (Go), which Skopeo and Podman use: time="..." level=fatal
 * msg="...". */
static char *
logrus_message(const char *line)
{
  const char *start = strstr(line, " msg=\"");
  if (!g_str_has_prefix(line, "time=\"") || !start)
    return NULL;
  start += strlen(" msg=\"");
  const char *end = strrchr(start, '"');
  g_autofree char *quoted = end ? g_strndup(start, (gsize)(end - start)) : g_strdup(start);
  return g_strcompress(quoted);
}

/* The line of @text that begins with @telling, else the last one that says something, without what
 * programs put before it. */
static char *
telling_line(const char *text, const char *telling)
{
  g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
  for (char **line = lines; telling && *line; line++)
    if (g_str_has_prefix(g_strchug(*line), telling))
      return g_strdup(*line + strlen(telling));
  for (guint i = g_strv_length(lines); i-- > 0;) {
    const char *line = g_strstrip(lines[i]);
    if (g_str_has_prefix(line, "Error: "))
      line += strlen("Error: ");
    char *message = logrus_message(line);
    if (message)
      return message;
    if (*line)
      return g_strdup(line);
  }
  return g_strdup("no message");
}

gboolean
run_program(const RunProgram *program, char **ret_output, GError **error)
{
  g_autofree char *output = NULL;
  g_autofree char *errors = NULL;
  g_autoptr(GError) local = NULL;
  g_auto(GStrv) environment = g_get_environ();
  int status;
  if (program->ret_status)
    *program->ret_status = -1;
  if (program->tmpdir)
    environment = g_environ_setenv(environment, "TMPDIR", program->tmpdir, TRUE);
  if (!g_spawn_sync(NULL, (char **)program->argv, environment, G_SPAWN_SEARCH_PATH,
                    scratch_child_setup, NULL, &output, &errors, &status, &local)) {
    if (g_error_matches(local, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
      return util_error(error, NIXSTORE_ERROR_NOT_FOUND, "%s: not found: %s", program->argv[0],
                        program->hint);
    return util_error(error, NIXSTORE_ERROR_FAILED, "run %s: %s", program->argv[0], local->message);
  }
  if (program->ret_status && WIFEXITED(status))
    *program->ret_status = WEXITSTATUS(status);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    g_autofree char *line = telling_line(errors, program->telling);
    return util_error(error, NIXSTORE_ERROR_FAILED, "%s: %s", program->what, line);
  }
  if (ret_output)
    *ret_output = g_steal_pointer(&output);
  return TRUE;
}
