/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * nixstore-fuse(8): shows an index and its data as a read-only FUSE filesystem.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "handover.h"
#include "mountapi.h"
#include "settings.h"
#include "supervise.h"
#include "util.h"

/* Threads beyond what the processors can do wait for the store's disk. */
#define MAIN_MIN_THREADS 4
#define MAIN_MAX_THREADS 16
/* One read of the largest size fits a pipe of the size that anybody may make. */
#define MAIN_READAHEAD (512 * 1024)

typedef struct {
  char *index, *uidmapping, *gidmapping, *socket, *counters, *target;
  char **data;
  int pass_fd, threads;
  gboolean foreground, passthrough, try_passthrough, version;
} Options;

/* The first mount, on its way to where it belongs. */
typedef struct {
  Options *options; /* whose pass_fd is closed with the rest */
  int mount_fd;
  int caller; /* the process that was called, which waits for our word; -1: it is this one */
} Delivery;
/* An error that is told to it. */
#define MAIN_MAX_MESSAGE 4096

static void
options_clear(Options *options)
{
  g_free(options->index);
  g_free(options->uidmapping);
  g_free(options->gidmapping);
  g_free(options->socket);
  g_free(options->counters);
  g_free(options->target);
  g_strfreev(options->data);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static gboolean
options_check(Options *options, int argc, char **argv, GError **error)
{
  if (options->version)
    return TRUE;
  if (options->try_passthrough)
    return (options->data && argc == 1) ||
           util_error(error, NIXSTORE_ERROR_INVALID, "--try-passthrough needs --data alone");
  if (!options->index || !options->data)
    return util_error(error, NIXSTORE_ERROR_INVALID, "--index and --data are needed");
  if ((options->pass_fd >= 0) != (argc == 1) || argc > 2)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "give one TARGET to mount on, or --pass-fd and none");
  if (options->threads < 0 || options->threads > MAIN_MAX_THREADS)
    return util_error(error, NIXSTORE_ERROR_INVALID, "--threads is from 1 to %d", MAIN_MAX_THREADS);
  if (argc == 2)
    options->target = g_strdup(argv[1]);
  return TRUE;
}

static gboolean
options_read(Options *options, int argc, char **argv, GError **error)
{
  const GOptionEntry entries[] = {
      {"index", 0, 0, G_OPTION_ARG_FILENAME, &options->index, "index of the image", "FILE"},
      {"data", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->data,
       "directory with the files' contents; may be repeated", "DIR"},
      {"uidmapping", 0, 0, G_OPTION_ARG_STRING, &options->uidmapping,
       "show user ids of the image as others", "CONTAINER:HOST:SIZE[:...]"},
      {"gidmapping", 0, 0, G_OPTION_ARG_STRING, &options->gidmapping,
       "show group ids of the image as others", "CONTAINER:HOST:SIZE[:...]"},
      {"foreground", 'f', 0, G_OPTION_ARG_NONE, &options->foreground, "stay in the foreground",
       NULL},
      {"threads", 0, 0, G_OPTION_ARG_INT, &options->threads, "threads that serve", "N"},
      {"socket", 0, 0, G_OPTION_ARG_FILENAME, &options->socket,
       "hand out further mounts at this socket", "PATH"},
      {"pass-fd", 0, 0, G_OPTION_ARG_INT, &options->pass_fd,
       "send the mount over this socket instead of attaching it", "FD"},
      {"passthrough", 0, 0, G_OPTION_ARG_NONE, &options->passthrough,
       "let the kernel read the files by itself, where it does that", NULL},
      {"try-passthrough", 0, 0, G_OPTION_ARG_NONE, &options->try_passthrough,
       "only tell whether it does", NULL},
      {"counters", 0, 0, G_OPTION_ARG_FILENAME, &options->counters,
       "count requests by opcode in this file", "FILE"},
      {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "print the version", NULL},
      {NULL},
  };
  g_autoptr(GOptionContext) context = g_option_context_new("TARGET");

  g_option_context_add_main_entries(context, entries, NULL);
  g_option_context_set_summary(
      context, "Shows an image of the Nix store as a read-only FUSE filesystem on TARGET.");
  return g_option_context_parse(context, &argc, &argv, error) &&
         options_check(options, argc, argv, error);
}

static GArray *
main_read_own_ids(const char *path)
{
  g_autofree char *map = NULL;

  return g_file_get_contents(path, &map, NULL, NULL) ? ids_parse_own(map) : NULL;
}

static gboolean
main_map_ids(const Options *options, Ids *ids, GError **error)
{
  if (options->uidmapping && !idmap_parse(options->uidmapping, &ids->uids, error))
    return FALSE;
  if (options->gidmapping && !idmap_parse(options->gidmapping, &ids->gids, error))
    return FALSE;
  ids_sort(ids->uids);
  ids_sort(ids->gids);
  ids->own_uids = main_read_own_ids("/proc/self/uid_map");
  ids->own_gids = main_read_own_ids("/proc/self/gid_map");
  return TRUE;
}

/* Maps the file of counters, so that they go on counting from one server to the next. */
static gboolean
main_open_counters(const char *path, guint64 **ret_counters, GError **error)
{
  gsize size = SERVE_COUNTERS * sizeof(guint64);
  autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

  if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
    return util_error_errno(error, "open the counters %s", path);
  void *counters = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (counters == MAP_FAILED)
    return util_error_errno(error, "map the counters %s", path);
  *ret_counters = counters;
  return TRUE;
}

static gboolean
main_open_server(const Options *options, Server *server, Data **ret_data, Index **ret_index,
                 GError **error)
{
  struct stat st;
  autofd int fd = open(options->index, O_RDONLY | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) < 0)
    return util_error_errno(error, "open the index %s", options->index);
  Index *index = index_open(fd, error);
  if (!index) {
    g_prefix_error(error, "index %s: ", options->index);
    return FALSE;
  }
  *ret_index = index;
  Data *data = data_open((const char *const *)options->data, error);
  if (!data)
    return FALSE;
  *ret_data = data;
  server->index = index;
  server->index_blocks = (guint64)st.st_size / 4096;
  server->data = data;
  return (!options->counters || main_open_counters(options->counters, &server->counters, error)) &&
         main_map_ids(options, &server->ids, error);
}

/* Opens the channel and returns its first mount. */
static int
main_connect(Channel *channel, const ChannelWishes *wishes, GError **error)
{
  if (!channel_open(channel, error))
    return -1;
  autofd int mount_fd = channel_mount(channel, error);
  if (mount_fd < 0 || !channel_agree(channel, wishes, error))
    return -1;
  return util_steal_fd(&mount_fd);
}

/* The same with passthrough, if the kernel takes the files of @data. */
static int
main_connect_passing(Channel *channel, ChannelWishes wishes, const Data *data, GError **error)
{
  wishes.passthrough = TRUE;
  if (mountapi_is_disabled("fuse-passthrough")) {
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "it is disabled");
    return -1;
  }
  if (!settings_process_is_root()) {
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, PASSTHROUGH_NEEDS_ROOT);
    return -1;
  }
  autofd int mount_fd = main_connect(channel, &wishes, error);
  if (mount_fd >= 0 && passthrough_try(channel, data, error))
    return util_steal_fd(&mount_fd);
  /* A connection that has agreed to it is slower, and counts as stacked. */
  channel_close(channel);
  return -1;
}

static int
main_mount(const Options *options, Channel *channel, const Server *server,
           Passthrough **ret_passthrough, GError **error)
{
  const ChannelWishes wishes = {.acls = index_has_xattrs(server->index)};
  autofd int mount_fd = -1;

  if (options->passthrough) {
    mount_fd = main_connect_passing(channel, wishes, server->data, NULL);
    if (mount_fd >= 0 && !(*ret_passthrough = passthrough_new(channel, error)))
      return -1;
  }
  if (mount_fd < 0)
    mount_fd = main_connect(channel, &wishes, error);
  if (mount_fd >= 0)
    channel_set_readahead(mount_fd, MAIN_READAHEAD);
  return util_steal_fd(&mount_fd);
}

static gboolean
main_try_passthrough(Options *options, GError **error)
{
  g_autoptr(Data) data = data_open((const char *const *)options->data, error);
  Channel channel = CHANNEL_INIT;

  if (!data)
    return FALSE;
  autofd int mount_fd = main_connect_passing(&channel, (ChannelWishes){0}, data, error);
  channel_close(&channel);
  return mount_fd >= 0;
}

static gboolean
main_hand_over(const Options *options, int mount_fd, GError **error)
{
  if (!options->target)
    return handover_send(options->pass_fd, mount_fd) ||
           util_error_errno(error, "hand over the mount");
  autofd int target = open(options->target, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (target < 0)
    return util_error_errno(error, "open the directory %s", options->target);
  return mountapi_attach(mount_fd, target, error);
}

static void
main_forget(gpointer data)
{
  Delivery *delivery = data;

  util_close_fd(&delivery->mount_fd);
  util_close_fd(&delivery->options->pass_fd);
  util_close_fd(&delivery->caller);
}

/* Ends as the keeper, the process @child, says over @keeper that it went. */
static void
main_wait_for_keeper(pid_t child, int keeper)
{
  char message[MAIN_MAX_MESSAGE + 1];
  gssize size;

  do
    size = recv(keeper, message, sizeof message - 1, 0);
  while (size < 0 && errno == EINTR);
  if (size > 0 && message[0] == '\0')
    _exit(0);
  message[MAX(size, 0)] = '\0';
  g_printerr("nixstore-fuse: %s\n", size > 0 ? message : "the server's keeper died at its start");
  /* Whoever tries again has its place. */
  waitpid(child, NULL, 0);
  _exit(1);
}

/* Tells the process that was called, if it is not us and still waits, that all went well (NULL) or
 * what did not. */
static void
main_tell_caller(Delivery *delivery, const char *message)
{
  gsize size = message ? MIN(strlen(message), MAIN_MAX_MESSAGE) : 1;

  if (delivery->caller >= 0)
    send(delivery->caller, message ? message : "", size, MSG_NOSIGNAL);
  util_close_fd(&delivery->caller);
}

static gboolean
main_deliver(gpointer data, GError **error)
{
  Delivery *delivery = data;

  if (!main_hand_over(delivery->options, delivery->mount_fd, error))
    return FALSE;
  main_tell_caller(delivery, NULL);
  main_forget(delivery);
  return TRUE;
}

/* Goes on in the background; the process that was called ends when it is told how it went. */
static gboolean
main_detach(Delivery *delivery, GError **error)
{
  int pair[2];

  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return util_error_errno(error, "make a pair of sockets");
  autofd int keeper = pair[0], caller = pair[1];
  pid_t child = fork();
  if (child < 0)
    return util_error_errno(error, "go into the background");
  if (child > 0) {
    util_close_fd(&caller);
    main_forget(delivery);
    main_wait_for_keeper(child, keeper);
  }
  delivery->caller = util_steal_fd(&caller);
  setsid();
  if (chdir("/") < 0)
    return util_error_errno(error, "change to /");
  autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
  return TRUE;
}

static guint
main_count_threads(const Options *options)
{
  if (options->threads > 0)
    return (guint)options->threads;
  return CLAMP(2 * g_get_num_processors(), MAIN_MIN_THREADS, MAIN_MAX_THREADS);
}

static gboolean
main_serve(Delivery *delivery, const Channel *channel, Server *server, Share *share, GError **error)
{
  const Options *options = delivery->options;
  const Supervision supervision = {.channel = channel,
                                   .server = server,
                                   .share = share,
                                   .target = options->target,
                                   .threads = main_count_threads(options),
                                   .deliver = main_deliver,
                                   .forget = main_forget,
                                   .delivery = delivery};

  if (!options->foreground && !main_detach(delivery, error)) {
    share_abandon(share);
    return FALSE;
  }
  return supervise_run(&supervision, error);
}

static gboolean
main_run(Options *options, GError **error)
{
  g_autoptr(Index) index = NULL;
  g_autoptr(Data) data = NULL;
  g_autoptr(Passthrough) passthrough = NULL;
  g_autoptr(GError) local = NULL;
  Server server = {0};
  Channel channel = CHANNEL_INIT;
  Share share = SHARE_INIT;
  Delivery delivery = {.options = options, .caller = -1};

  if (!main_open_server(options, &server, &data, &index, error))
    return FALSE;
  if (options->socket && !share_open(&share, options->socket, error))
    return FALSE;
  if (options->target) {
    /* SIGTERM takes it as it is from any working directory. */
    g_autofree char *given = g_steal_pointer(&options->target);
    options->target = g_canonicalize_filename(given, NULL);
  }
  delivery.mount_fd = main_mount(options, &channel, &server, &passthrough, error);
  if (delivery.mount_fd < 0) {
    share_abandon(&share);
    return FALSE;
  }
  server.passthrough = passthrough;
  if (main_serve(&delivery, &channel, &server, &share, &local))
    return TRUE;
  main_tell_caller(&delivery, local->message);
  main_forget(&delivery);
  g_propagate_error(error, g_steal_pointer(&local));
  return FALSE;
}

int
main(int argc, char **argv)
{
  g_auto(Options) options = {.pass_fd = -1};
  g_autoptr(GError) error = NULL;

  util_prepare_process();
  if (!options_read(&options, argc, argv, &error)) {
    g_printerr("nixstore-fuse: %s\n", error->message);
    return 2;
  }
  if (options.version) {
    g_print("nixstore-fuse %s\n", PACKAGE_VERSION);
    return 0;
  }
  if (!(options.try_passthrough ? main_try_passthrough : main_run)(&options, &error)) {
    g_printerr("nixstore-fuse: %s\n", error->message);
    return 1;
  }
  return 0;
}
