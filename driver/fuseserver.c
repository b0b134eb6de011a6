/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuseserver.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "handover.h"
#include "idmap.h"
#include "settings.h"
#include "util.h"

#define FUSESERVER_PROGRAM "nixstore-fuse"
/* Hexadecimal digits of the digest that a socket is named by. */
#define FUSESERVER_KEY_SIZE 32
/* A server that is there answers in a fraction of a millisecond; one that was stopped never. */
#define FUSESERVER_PATIENCE 5
/* Descriptors of the program that is started. */
#define FUSESERVER_FD_PASS 3
#define FUSESERVER_FD_INDEX 4
#define FUSESERVER_MAX_MESSAGE 4096

static void
fuseserver_append_ranges(GString *text, const char *name, const GArray *ranges)
{
  for (guint i = 0; ranges && i < ranges->len; i++) {
    const IdRange *range = &g_array_index(ranges, IdRange, i);
    g_string_append_printf(text, "%s%u:%u:%u", i ? ":" : name, range->container, range->host,
                           range->size);
  }
}

static void
fuseserver_append_inode(GString *text, const struct stat *st)
{
  g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", (guint64)st->st_dev,
                         (guint64)st->st_ino);
}

/* Whether somebody may stop the unit @name by itself. The scope that rootless Podman puts itself in
 * (RunUnderSystemdScope() of containers/common) is nobody's, and each Podman has another. */
static gboolean
fuseserver_unit_is_stopped(const char *name)
{
  return g_str_has_suffix(name, ".service") ||
         (g_str_has_suffix(name, ".scope") && !g_str_has_prefix(name, "podman-"));
}

char *
fuseserver_find_unit(const char *cgroups)
{
  g_auto(GStrv) lines = g_strsplit(cgroups, "\n", -1);

  for (char **line = lines; *line; line++) {
    char *path = strstr(*line, ":/");
    for (char *name = path ? strrchr(path, '/') : NULL; name; name = strrchr(path, '/')) {
      if (fuseserver_unit_is_stopped(name + 1))
        return g_strdup(path + 1);
      *name = '\0';
    }
  }
  return NULL;
}

/* Who stops a unit, or runs out of memory in it, takes all processes in its control group along:
 * what it started is not for containers of others. */
static void
fuseserver_append_unit(GString *text)
{
  g_autofree char *cgroups = NULL;

  if (!g_file_get_contents("/proc/self/cgroup", &cgroups, NULL, NULL))
    return;
  g_autofree char *unit = fuseserver_find_unit(cgroups);
  if (unit)
    g_string_append_printf(text, "unit %s\n", unit);
}

/* What makes two filesystems the same, and who may use them. */
static char *
fuseserver_key(const FuseserverImage *image, GError **error)
{
  g_autoptr(GString) text = g_string_new("fuse " PACKAGE_VERSION "\n");
  struct stat st;

  if (fstat(image->index_fd, &st) < 0) {
    util_error_errno(error, "look at the index");
    return NULL;
  }
  fuseserver_append_inode(text, &st);
  g_string_append_printf(text, "%" G_GINT64_FORMAT ".%09ld\n", (gint64)st.st_mtim.tv_sec,
                         st.st_mtim.tv_nsec);
  /* Not their times: that of a driver's home changes with each container, that of the store with
   * each path. */
  for (char **path = image->data; *path; path++) {
    g_string_append_printf(text, "%s\n", *path);
    if (stat(*path, &st) < 0) {
      util_error_errno(error, "look at the data directory %s", *path);
      return NULL;
    }
    fuseserver_append_inode(text, &st);
  }
  fuseserver_append_ranges(text, "uids ", image->uids);
  fuseserver_append_ranges(text, "gids ", image->gids);
  if (image->passthrough)
    g_string_append(text, "\npassthrough");
  /* A mount belongs to the user namespace that it was made in. */
  if (stat("/proc/self/ns/user", &st) == 0)
    g_string_append_printf(text, "\nuser namespace %" G_GUINT64_FORMAT "\n", (guint64)st.st_ino);
  fuseserver_append_unit(text);
  char *key = util_sha256_hex(text->str, text->len);
  key[FUSESERVER_KEY_SIZE] = '\0';
  return key;
}

char *
fuseserver_directory(void)
{
  const char *runtime = g_getenv("XDG_RUNTIME_DIR");

  if (settings_process_is_root())
    return g_strdup("/run/nixstore");
  return runtime && *runtime == '/' ? g_build_filename(runtime, "nixstore", NULL) : NULL;
}

int
fuseserver_lock(const char *directory, GError **error)
{
  struct stat st;

  if (!util_make_directory(directory, 0700, error))
    return -1;
  autofd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0) {
    util_error_errno(error, "open the directory %s", directory);
    return -1;
  }
  /* Where only we could write there is nothing of others; now they cannot look in either. */
  if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) ||
      ((st.st_mode & 077) && fchmod(fd, 0700) < 0)) {
    util_error(error, NIXSTORE_ERROR_UNTRUSTED, "%s must belong to you alone (mode 0700)",
               directory);
    return -1;
  }
  while (flock(fd, LOCK_EX) < 0) {
    if (errno != EINTR) {
      util_error_errno(error, "lock the directory %s", directory);
      return -1;
    }
  }
  return util_steal_fd(&fd);
}

/* A connection to the server that listens at @name; -1 when there is none. */
static int
fuseserver_connect(int directory, const char *name)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct timeval patience = {.tv_sec = FUSESERVER_PATIENCE};
  autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

  g_snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, name);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
      connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
    return -1;
  return util_steal_fd(&fd);
}

/* Asks the server that listens at @name; -1 when there is none, or it is leaving. */
static int
fuseserver_ask(int directory, const char *name)
{
  autofd int fd = fuseserver_connect(directory, name);

  return fd < 0 ? -1 : handover_receive(fd);
}

gboolean
fuseserver_is_there(int lock, const char *name)
{
  autofd int fd = fuseserver_connect(lock, name);

  return fd >= 0 || errno != ECONNREFUSED;
}

/* Installed beside us, and so it is in a build tree. */
static char *
fuseserver_program(void)
{
  g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
  g_autofree char *directory = self ? g_path_get_dirname(self) : NULL;
  char *beside = directory ? g_build_filename(directory, FUSESERVER_PROGRAM, NULL) : NULL;

  if (beside && access(beside, X_OK) == 0)
    return beside;
  g_free(beside);
  return g_strdup(PKGLIBEXECDIR "/" FUSESERVER_PROGRAM);
}

static void
fuseserver_add(GPtrArray *argv, const char *name, const char *value)
{
  g_ptr_array_add(argv, g_strconcat(name, value, NULL));
}

static void
fuseserver_add_mapping(GPtrArray *argv, const char *name, const GArray *ranges)
{
  g_autoptr(GString) text = g_string_new(NULL);

  fuseserver_append_ranges(text, name, ranges);
  if (text->len)
    g_ptr_array_add(argv, g_strdup(text->str));
}

static GPtrArray *
fuseserver_arguments(const FuseserverImage *image, const char *socket_path)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

  g_ptr_array_add(argv, fuseserver_program());
  fuseserver_add(argv, "--pass-fd=", G_STRINGIFY(FUSESERVER_FD_PASS));
  fuseserver_add(argv, "--index=/proc/self/fd/", G_STRINGIFY(FUSESERVER_FD_INDEX));
  for (char **path = image->data; *path; path++)
    fuseserver_add(argv, "--data=", *path);
  fuseserver_add_mapping(argv, "--uidmapping=", image->uids);
  fuseserver_add_mapping(argv, "--gidmapping=", image->gids);
  if (socket_path)
    fuseserver_add(argv, "--socket=", socket_path);
  if (image->passthrough)
    fuseserver_add(argv, "--passthrough", "");
  g_ptr_array_add(argv, NULL);
  return argv;
}

/* The child: becomes the server's program, with nothing of ours but what it needs. Podman's own
 * descriptors among them would keep Podman waiting for as long as the server lives. */
static void
fuseserver_exec(char *const *argv, int pass_fd, int index_fd, int error_fd)
{
  /* Out of the way of the numbers that they are to have. */
  int pass = fcntl(pass_fd, F_DUPFD, 16), index = fcntl(index_fd, F_DUPFD, 16),
      message = fcntl(error_fd, F_DUPFD, 16), null = open("/dev/null", O_RDWR);

  if (pass < 0 || index < 0 || message < 0 || null < 0 || dup2(message, STDERR_FILENO) < 0 ||
      dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
      dup2(pass, FUSESERVER_FD_PASS) < 0 || dup2(index, FUSESERVER_FD_INDEX) < 0)
    _exit(127);
  close_range(FUSESERVER_FD_INDEX + 1, ~0U, 0);
  execv(argv[0], argv);
  dprintf(STDERR_FILENO, "start %s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

/* What the program said, on one line. */
static char *
fuseserver_clean_message(char *text)
{
  g_strchomp(text);
  if (g_str_has_prefix(text, FUSESERVER_PROGRAM ": "))
    text += strlen(FUSESERVER_PROGRAM ": ");
  return util_escape(text);
}

/* All that it says before it goes into the background. */
static char *
fuseserver_read_message(int fd)
{
  char buffer[FUSESERVER_MAX_MESSAGE];
  gsize used = 0;
  gssize size;

  while (used < sizeof buffer - 1 &&
         ((size = read(fd, buffer + used, sizeof buffer - 1 - used)) > 0 ||
          (size < 0 && errno == EINTR)))
    used += size > 0 ? (gsize)size : 0;
  buffer[used] = '\0';
  return fuseserver_clean_message(buffer);
}

/* Starts a server and takes its first mount. */
static int
fuseserver_start(const FuseserverImage *image, const char *socket_path, GError **error)
{
  g_autoptr(GPtrArray) argv = fuseserver_arguments(image, socket_path);
  int pass[2], message[2];

  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pass) < 0) {
    util_error_errno(error, "make a pair of sockets");
    return -1;
  }
  autofd int ours = pass[0], theirs = pass[1];
  if (pipe2(message, O_CLOEXEC) < 0) {
    util_error_errno(error, "make a pipe");
    return -1;
  }
  autofd int reader = message[0], writer = message[1];
  pid_t child = fork();
  if (child == 0)
    fuseserver_exec((char *const *)argv->pdata, theirs, image->index_fd, writer);
  util_close_fd(&theirs);
  util_close_fd(&writer);
  if (child < 0) {
    util_error_errno(error, "start " FUSESERVER_PROGRAM);
    return -1;
  }
  autofd int mount_fd = handover_receive(ours);
  /* What we wait for is gone into the background, or dead. */
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  /* A mount whose server could not go on is as good as none. */
  if (mount_fd >= 0 && status == 0)
    return util_steal_fd(&mount_fd);
  g_autofree char *text = fuseserver_read_message(reader);
  util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s",
             *text ? text : FUSESERVER_PROGRAM " gave no mount");
  return -1;
}

int
fuseserver_mount(const FuseserverImage *image, gboolean may_start, GError **error)
{
  g_autofree char *key = fuseserver_key(image, error);
  g_autofree char *directory = fuseserver_directory();
  g_autofree char *socket_path = NULL;
  GError *local = NULL;

  if (!key)
    return -1;
  autofd int lock = directory ? fuseserver_lock(directory, &local) : -1;
  if (local) {
    g_propagate_error(error, local);
    return -1;
  }
  if (lock >= 0) {
    int fd = fuseserver_ask(lock, key);
    if (fd >= 0)
      return fd;
    socket_path = g_build_filename(directory, key, NULL);
  }
  if (may_start)
    return fuseserver_start(image, socket_path, error);
  util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "the FUSE server gives no further mount");
  return -1;
}

gboolean
fuseserver_try_passthrough(const char *data, GError **error)
{
  g_autofree char *program = fuseserver_program();
  g_autofree char *directory = g_strconcat("--data=", data, NULL);
  char try[] = "--try-passthrough";
  char *argv[] = {program, try, directory, NULL};
  g_autofree char *errors = NULL;
  int status;

  if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &errors,
                    &status, error))
    return FALSE;
  if (g_spawn_check_wait_status(status, NULL))
    return TRUE;
  g_autofree char *text = fuseserver_clean_message(errors);
  return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s", text);
}
