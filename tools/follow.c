/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "follow.h"

#include <glib-unix.h>
#include <string.h>
#include <sys/inotify.h>

#include "util.h"

/* How long a file must be left alone: an image that is pulled is entered in several steps. */
#define FOLLOW_REST_SECONDS 2

typedef struct {
  GMainLoop *loop;
  const char *name; /* of the file in its directory, which is what is watched */
  guint rest;       /* the source of the time that it is left alone; 0: it is not running */
  FollowWork work;
  gpointer data;
} Follow;

static gboolean
follow_rested(gpointer data)
{
  Follow *follow = data;

  follow->rest = 0;
  follow->work(follow->data);
  return G_SOURCE_REMOVE;
}

static gboolean
follow_changed(gint fd, GIOCondition condition, gpointer data)
{
  Follow *follow = data;
  char events[sizeof(struct inotify_event) + NAME_MAX + 1]
      __attribute__((aligned(__alignof__(struct inotify_event))));
  const struct inotify_event *event = (struct inotify_event *)events;

  gssize size = read(fd, events, sizeof events);
  for (const char *at = events; size > 0 && at < events + size; at += sizeof *event + event->len) {
    event = (const struct inotify_event *)at;
    if (event->len == 0 || strcmp(event->name, follow->name) != 0)
      continue;
    if (follow->rest)
      g_source_remove(follow->rest);
    follow->rest = g_timeout_add_seconds(FOLLOW_REST_SECONDS, follow_rested, follow);
  }
  return G_SOURCE_CONTINUE;
}

static gboolean
follow_input(gint fd, GIOCondition condition, gpointer data)
{
  Follow *follow = data;
  char buffer[256];

  if (read(fd, buffer, sizeof buffer) > 0)
    return G_SOURCE_CONTINUE;
  g_main_loop_quit(follow->loop);
  return G_SOURCE_REMOVE;
}

gboolean
follow_file(const char *path, FollowWork work, gpointer data, GError **error)
{
  g_autofree char *directory = g_path_get_dirname(path);
  g_autofree char *name = g_path_get_basename(path);
  autofd int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

  if (fd < 0 || inotify_add_watch(fd, directory, IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
    return util_error_errno(error, "watch the directory %s", directory);
  g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
  Follow follow = {.loop = loop, .name = name, .work = work, .data = data};
  guint changes = g_unix_fd_add(fd, G_IO_IN, follow_changed, &follow);
  g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, follow_input, &follow);
  g_main_loop_run(loop);
  g_source_remove(changes);
  if (follow.rest)
    g_source_remove(follow.rest);
  work(data);
  return TRUE;
}
