/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "idmap.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "util.h"

static gboolean
idmap_parse_number(const char **cursor, guint32 *ret_number)
{
  guint64 number = 0;
  const char *p = *cursor;

  if (!g_ascii_isdigit(*p))
    return FALSE;
  for (; g_ascii_isdigit(*p); p++) {
    number = number * 10 + (guint64)(*p - '0');
    if (number > G_MAXUINT32)
      return FALSE;
  }
  *ret_number = (guint32)number;
  *cursor = p;
  return TRUE;
}

static gboolean
idmap_parse_range(const char **cursor, IdRange *ret_range)
{
  IdRange range;

  if (!idmap_parse_number(cursor, &range.container) || *(*cursor)++ != ':')
    return FALSE;
  if (!idmap_parse_number(cursor, &range.host) || *(*cursor)++ != ':')
    return FALSE;
  if (!idmap_parse_number(cursor, &range.size) || range.size == 0)
    return FALSE;
  /* The id 2^32 - 1 means "no id" to the kernel. */
  if ((guint64)range.container + range.size > G_MAXUINT32 ||
      (guint64)range.host + range.size > G_MAXUINT32)
    return FALSE;
  *ret_range = range;
  return TRUE;
}

static gboolean
idmap_overlap(guint32 a, guint32 b, guint32 a_size, guint32 b_size)
{
  return (guint64)a < (guint64)b + b_size && (guint64)b < (guint64)a + a_size;
}

static gboolean
idmap_clashes(const GArray *ranges, const IdRange *range)
{
  for (guint i = 0; i < ranges->len; i++) {
    const IdRange *other = &g_array_index(ranges, IdRange, i);
    if (idmap_overlap(other->container, range->container, other->size, range->size) ||
        idmap_overlap(other->host, range->host, other->size, range->size))
      return TRUE;
  }
  return FALSE;
}

static gboolean
idmap_refuse(GError **error, const char *text, const char *why)
{
  g_autofree char *escaped = util_escape(text);

  return util_error(error, NIXSTORE_ERROR_INVALID, "the id mapping \"%s\" %s", escaped, why);
}

gboolean
idmap_parse(const char *text, GArray **ret_ranges, GError **error)
{
  g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(IdRange));
  const char *cursor = text;

  while (*cursor == ':')
    cursor++;
  while (*cursor) {
    IdRange range;
    if (!idmap_parse_range(&cursor, &range) || (*cursor && *cursor != ':'))
      return idmap_refuse(error, text, "is not of the form CONTAINER:HOST:SIZE[:...]");
    if (idmap_clashes(ranges, &range))
      return idmap_refuse(error, text, "has ranges that overlap");
    if (ranges->len == IDMAP_MAX_RANGES)
      return util_error(error, NIXSTORE_ERROR_INVALID, "more than %d ranges in an id mapping",
                        IDMAP_MAX_RANGES);
    g_array_append_val(ranges, range);
    while (*cursor == ':')
      cursor++;
  }
  *ret_ranges = ranges->len ? g_steal_pointer(&ranges) : NULL;
  return TRUE;
}

/* How many ids from @id on, at most @size, one line of @own_map has: our own user namespace's
 * uid_map or gid_map. @size when no line has @id. */
static guint32
idmap_mapped_at_once(const char *own_map, guint32 id, guint32 size)
{
  guint32 first, outside, count;

  for (const char *line = own_map; sscanf(line, "%u %u %u", &first, &outside, &count) == 3;) {
    if (id >= first && id - first < count)
      return MIN(size, count - (id - first));
    if (!(line = strchr(line, '\n')))
      break;
    line++;
  }
  return size;
}

/* The lines for the kernel, which takes no range that crosses a boundary in the mapping of the user
 * namespace above it (map_write() in its user_namespace.c). In a user's that one has a boundary
 * behind id 0. */
static char *
idmap_lines(const char *file, const GArray *ranges)
{
  g_autofree char *own_path = g_strconcat("/proc/self/", file, NULL);
  g_autofree char *own_map = NULL;
  GString *text = g_string_new(NULL);

  if (!g_file_get_contents(own_path, &own_map, NULL, NULL))
    own_map = g_strdup("");
  for (guint i = 0; i < ranges->len; i++) {
    IdRange range = g_array_index(ranges, IdRange, i);
    while (range.size > 0) {
      guint32 size = idmap_mapped_at_once(own_map, range.host, range.size);
      g_string_append_printf(text, "%u %u %u\n", range.container, range.host, size);
      range.container += size;
      range.host += size;
      range.size -= size;
    }
  }
  return g_string_free(text, FALSE);
}

static gboolean
idmap_write_file(pid_t pid, const char *file, const GArray *ranges, GError **error)
{
  char path[64];
  g_autofree char *text = idmap_lines(file, ranges);
  gsize length = strlen(text);

  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
  autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
  /* The kernel takes the whole mapping in a single write. */
  if (fd >= 0 && write(fd, text, length) == (gssize)length)
    return TRUE;
  util_error_errno(error, "write the id mapping to %s", path);
  if (length >= (gsize)sysconf(_SC_PAGESIZE))
    g_prefix_error(error,
                   "the %u ranges of the id mapping take %zu bytes, and the kernel takes less than "
                   "a page (user_namespaces(7)): ",
                   ranges->len, length);
  return FALSE;
}

/* A child that owns a fresh user namespace and sleeps until it is killed, also by our own death. */
static pid_t
idmap_spawn(void)
{
  pid_t parent = getpid();
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (syscall(SYS_getppid) == parent)
      for (;;)
        pause();
    _exit(0);
  }
  return pid;
}

gboolean
idmap_map(const GArray *ranges, guint32 id, guint32 *ret_id)
{
  if (!ranges) {
    *ret_id = id;
    return TRUE;
  }
  for (guint i = 0; i < ranges->len; i++) {
    const IdRange *range = &g_array_index(ranges, IdRange, i);
    if (id >= range->container && id - range->container < range->size) {
      *ret_id = range->host + (id - range->container);
      return TRUE;
    }
  }
  return FALSE;
}

int
idmap_open_userns(const GArray *uids, const GArray *gids, GError **error)
{
  char path[64];
  pid_t pid = idmap_spawn();
  int fd = -1;

  if (pid < 0) {
    util_error_errno(error, "create a user namespace for the id mapping");
    return -1;
  }
  if (idmap_write_file(pid, "uid_map", uids, error) &&
      idmap_write_file(pid, "gid_map", gids, error)) {
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      util_error_errno(error, "open %s", path);
  }
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  return fd;
}
