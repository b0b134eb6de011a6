/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "failures.h"
#include "settings.h"
#include "util.h"

#include <string.h>

#define FAILURES_FILE "replace-failures"
/* Its first line. */
#define FAILURES_HEAD "replace-failures 1 " PACKAGE_VERSION
#define FAILURES_MAX_SIZE (256 * 1024)
/* More are forgotten, the oldest first: a storage with so many is one to look after by hand. */
#define FAILURES_MAX 256
/* A full disk is not full for ever. */
#define FAILURES_RETRY_SECONDS 3600
#define FAILURES_REASON_MAX 400

/* "ID EXPIRES REASON", the oldest first. EXPIRES: seconds since the epoch; 0: never. */
static GPtrArray *
failures_read(int directory)
{
  GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
  autofd int fd = openat(directory, FAILURES_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  gsize size;
  g_autofree char *text =
      fd >= 0 ? util_read_all(fd, FAILURES_MAX_SIZE, FAILURES_FILE, &size, NULL) : NULL;
  g_auto(GStrv) all = g_strsplit(text ? text : "", "\n", -1);
  if (g_strcmp0(all[0], FAILURES_HEAD) != 0)
    return lines;
  for (char **line = all + 1; *line; line++) {
    const char *expires = strchr(*line, ' ');
    guint64 time = expires ? g_ascii_strtoull(expires, NULL, 10) : 0;
    if (expires && (time == 0 || time > (guint64)g_get_real_time() / G_USEC_PER_SEC))
      g_ptr_array_add(lines, g_strdup(*line));
  }
  return lines;
}

static gboolean
line_is_of(const char *line, const char *id)
{
  gsize size = strlen(id);
  return strncmp(line, id, size) == 0 && line[size] == ' ';
}

static int
failures_open_directory(void)
{
  const Settings *settings = settings_get(NULL);
  return settings ? open(settings->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

gboolean
failures_has(const char *id, char **ret_reason)
{
  autofd int directory = failures_open_directory();
  g_autoptr(GPtrArray) lines = failures_read(directory);
  for (guint i = 0; i < lines->len; i++) {
    const char *line = lines->pdata[i];
    const char *reason = strchr(strchr(line, ' ') + 1, ' ');
    if (!line_is_of(line, id))
      continue;
    *ret_reason = g_strdup(reason ? reason + 1 : "");
    return TRUE;
  }
  return FALSE;
}

/* What was noted of @id goes; @line (NULL: nothing) takes its place, at the end. Takes over @line.
 */
static void
failures_replace(const char *id, char *line)
{
  autofd int directory = failures_open_directory();
  g_autoptr(GPtrArray) lines = failures_read(directory);
  g_autoptr(GString) text = g_string_new(FAILURES_HEAD "\n");
  guint before = lines->len;
  for (guint i = lines->len; i-- > 0;)
    if (line_is_of(lines->pdata[i], id))
      g_ptr_array_remove_index(lines, i);
  if (!line && lines->len == before)
    return;
  if (line)
    g_ptr_array_add(lines, line);
  for (guint i = lines->len > FAILURES_MAX ? lines->len - FAILURES_MAX : 0; i < lines->len; i++)
    g_string_append_printf(text, "%s\n", (const char *)lines->pdata[i]);
  if (directory < 0)
    return;
  if (lines->len == 0)
    unlinkat(directory, FAILURES_FILE, 0);
  else
    util_replace_file(directory, FAILURES_FILE, text->str, text->len, 0600, NULL);
}

void
failures_add(const char *id, const GError *why)
{
  gboolean for_good = g_error_matches(why, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  gint64 expires = for_good ? 0 : g_get_real_time() / G_USEC_PER_SEC + FAILURES_RETRY_SECONDS;
  g_autofree char *reason = util_escape(why->message);
  failures_replace(id, g_strdup_printf("%s %" G_GINT64_FORMAT " %.*s", id, expires,
                                       FAILURES_REASON_MAX, reason));
}

void
failures_remove(const char *id)
{
  failures_replace(id, NULL);
}

char *
failures_find_file(void)
{
  const Settings *settings = settings_get(NULL);
  g_autofree char *path = settings ? g_build_filename(settings->cache, FAILURES_FILE, NULL) : NULL;
  return path && access(path, F_OK) == 0 ? g_steal_pointer(&path) : NULL;
}
