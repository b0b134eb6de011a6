/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks of what mounts, servers and caches leave.
 */
#include "config.h"

#include "doctor.h"
#include "leftovers.h"
#include "output.h"
#include "settings.h"
#include "util.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

/* The source of every mount of ours: "nixstore:..." of an overlay, "nixstore-fuse". */
#define MOUNT_SOURCE "nixstore"
/* A mount is made in milliseconds; what has no user for longer has none. */
#define PATIENCE_MILLISECONDS 500

/* The mount point in a line of mountinfo (proc_pid_mountinfo(5)) if it is a mount of ours. */
static char *
parse_mount(const char *line)
{
  const char *rest = strstr(line, " - ");
  g_auto(GStrv) fields = g_strsplit(line, " ", 6);
  g_auto(GStrv) tail = g_strsplit(rest ? rest + 3 : "", " ", 3);
  if (g_strv_length(fields) < 6 || g_strv_length(tail) < 2 ||
      !g_str_has_prefix(tail[1], MOUNT_SOURCE))
    return NULL;
  return g_strcompress(fields[4]);
}

/* The mount points of ours that the process @pid ("self") sees; NULL where we may not look. */
static GPtrArray *
list_mounts(const char *pid)
{
  g_autofree char *path = g_build_filename("/proc", pid, "mountinfo", NULL);
  g_autofree char *text = NULL;
  if (!g_file_get_contents(path, &text, NULL, NULL))
    return NULL;
  GPtrArray *points = g_ptr_array_new_with_free_func(g_free);
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line; line++) {
    char *point = parse_mount(*line);
    if (point)
      g_ptr_array_add(points, point);
  }
  return points;
}

/* Where Podman has layers mounted, by its own books. */
static GHashTable *
read_books(const PodmanInfo *podman)
{
  g_autofree char *layers = g_strconcat(podman->driver, "-layers", NULL);
  g_autofree char *path = g_build_filename(podman->run_root, layers, "mountpoints.json", NULL);
  g_autoptr(json_t) list = json_load_file(path, 0, NULL);
  GHashTable *points = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  gsize i;
  json_t *row;
  json_array_foreach(list, i, row)
  {
    const char *point = json_string_value(json_object_get(row, "path"));
    if (point && json_integer_value(json_object_get(row, "count")) > 0)
      g_hash_table_add(points, g_strdup(point));
  }
  return points;
}

/* A process in the mount namespace where Podman mounts: rootless, that is one of its own, which a
 * process keeps. */
static char *
find_mounter(const PodmanInfo *podman)
{
  const char *runtime = g_getenv("XDG_RUNTIME_DIR");
  g_autofree char *file = g_build_filename(runtime ? runtime : "/", "libpod/tmp/pause.pid", NULL);
  char *pid = NULL;
  if (!podman->is_rootless || geteuid() == 0 || !g_file_get_contents(file, &pid, NULL, NULL))
    return g_strdup("self");
  return g_strstrip(pid);
}

/* Mounts in Podman's home that Podman knows nothing of. */
static GPtrArray *
find_stale_mounts(const PodmanInfo *podman)
{
  g_autofree char *mounter = find_mounter(podman);
  g_autoptr(GPtrArray) points = list_mounts(mounter);
  g_autoptr(GHashTable) books = read_books(podman);
  g_autofree char *home = g_build_filename(podman->graph_root, podman->driver, "", NULL);
  GPtrArray *stale = g_ptr_array_new_with_free_func(g_free);
  for (guint i = 0; points && i < points->len; i++)
    if (g_str_has_prefix(points->pdata[i], home) && !g_hash_table_contains(books, points->pdata[i]))
      g_ptr_array_add(stale, g_strdup(points->pdata[i]));
  return stale;
}

void
doctor_check_mounts(Doctor *doctor)
{
  if (!doctor->podman)
    return;
  g_autoptr(GPtrArray) stale = find_stale_mounts(doctor->podman);
  if (stale->len > 0) {
    /* One that Podman is about to write down. */
    g_usleep(PATIENCE_MILLISECONDS * 1000);
    g_ptr_array_unref(stale);
    stale = find_stale_mounts(doctor->podman);
  }
  for (guint i = 0; i < stale->len; i++)
    doctor_add(doctor, DOCTOR_WARNING,
               g_strdup_printf("%s is mounted, but Podman knows nothing of it",
                               (const char *)stale->pdata[i]),
               g_strdup_printf("%sumount %s", geteuid() == 0 ? "" : "podman unshare ",
                               (const char *)stale->pdata[i]));
}

static gboolean
is_server(const char *pid)
{
  g_autofree char *path = g_build_filename("/proc", pid, "comm", NULL);
  g_autofree char *directory = g_build_filename("/proc", pid, NULL);
  g_autofree char *name = NULL;
  struct stat st;
  /* The keeper and the server proper. */
  return g_file_get_contents(path, &name, NULL, NULL) && stat(directory, &st) == 0 &&
         st.st_uid == geteuid() &&
         (g_str_has_prefix(name, "nixstore-fuse") || g_str_has_prefix(name, "nixstore-keeper"));
}

/* Whether the descriptor @fd of the process @pidfd is a /dev/fuse whose filesystem is gone: poll(2)
 * says POLLERR then, and only then (the kernel's fuse_dev_poll()). */
static gboolean
is_dead_connection(int pidfd, int number)
{
  autofd int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
  struct pollfd query = {.fd = fd, .events = POLLIN};
  return fd >= 0 && poll(&query, 1, 0) == 1 && (query.revents & POLLERR);
}

/* Whether the server @pid should have left, for certain. */
static gboolean
is_idle(const char *pid)
{
  g_autofree char *path = g_build_filename("/proc", pid, "fd", NULL);
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  autofd int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)atoi(pid), 0);
  const char *number;
  while (dir && pidfd >= 0 && (number = g_dir_read_name(dir))) {
    g_autofree char *link = g_build_filename(path, number, NULL);
    g_autofree char *target = g_file_read_link(link, NULL);
    if (g_strcmp0(target, "/dev/fuse") == 0)
      return is_dead_connection(pidfd, atoi(number));
  }
  return FALSE;
}

/* The servers of this user whose filesystem is gone. */
static GPtrArray *
find_idle_servers(void)
{
  GPtrArray *servers = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
  const char *pid;
  while (proc && (pid = g_dir_read_name(proc)))
    if (g_ascii_isdigit(*pid) && is_server(pid) && is_idle(pid))
      g_ptr_array_add(servers, g_strdup(pid));
  return servers;
}

void
doctor_check_servers(Doctor *doctor)
{
  g_autoptr(GPtrArray) servers = find_idle_servers();
  if (servers->len == 0)
    return;
  /* One that is about to leave. */
  g_usleep(PATIENCE_MILLISECONDS * 1000);
  g_ptr_array_unref(servers);
  servers = find_idle_servers();
  g_autoptr(GString) pids = g_string_new(NULL);
  for (guint i = 0; i < servers->len; i++)
    g_string_append_printf(pids, " %s", (const char *)servers->pdata[i]);
  if (servers->len > 0)
    doctor_add(doctor, DOCTOR_WARNING,
               g_strdup_printf("FUSE servers run, though nobody has their filesystem mounted:%s",
                               pids->str),
               g_strdup_printf("kill -9%s", pids->str));
}

void
doctor_check_leftovers(Doctor *doctor)
{
  g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
  guint count = 0;
  guint64 size = 0;
  if (!settings_get(NULL))
    return;
  g_autoptr(GPtrArray) leftovers = leftovers_find(problems);
  for (guint i = 0; i < problems->len; i++)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(problems->pdata[i]),
               g_strdup("chown and chmod it as it says, or set another cache in nixstore.conf(5)"));
  for (guint i = 0; i < leftovers->len; i++) {
    const Leftover *leftover = leftovers->pdata[i];
    /* Of use to whoever replaces pulled images: only gc's user may think otherwise. */
    if (leftover->kind == LEFTOVER_FAILURES)
      continue;
    if (leftover->is_damaged) {
      doctor_add(doctor, DOCTOR_WARNING, g_strdup_printf("%s: %s", leftover->path, leftover->why),
                 g_strdup("`nixstore gc' removes it; it is made anew when it is wanted"));
      continue;
    }
    count++;
    size += leftover->size;
  }
  if (count == 0)
    return;
  g_autofree char *text = output_size(size);
  doctor_add(
      doctor, DOCTOR_NOTE,
      g_strdup_printf("%u thing%s nobody needs any more, %s", count, count == 1 ? "" : "s", text),
      g_strdup("`nixstore gc' removes them; with --dry-run it only names them"));
}
