/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "serve.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "mountapi.h"
#include "protocol.h"
#include "requests.h"
#include "util.h"

/* For one taken request. The kernel wants room for its header and for max_write bytes. */
#define SERVE_REQUEST_SIZE (16 * 1024)

/* The index's pages count as ours once they were looked at. Page faults since they were given back
 * after which that is done again: each maps at most 64 KiB (16 pages, the kernel's fault-around).
 */
#define SERVE_TRIM_FAULTS 128
/* Requests of a thread after which it counts its page faults. */
#define SERVE_TRIM_INTERVAL 16

/* Microseconds that whoever waits for a request looks for one before it sleeps. A first walk
 * through an overlay sends one request after the other, and to wake two processes on two idle
 * processors for each takes longer than all the rest of it. */
#define SERVE_POLL_USEC 50

/* Who has it takes the next request; the others wait for it outside the kernel, which would wake
 * one of them for each request. Shared by the threads. */
typedef struct {
  pthread_mutex_t mutex;
  gint64 poll_usec; /* 0 where there is one processor: whoever is to ask needs it */
} Baton;

/* One thread, with a libfuse session of its own: sessions share nothing, so threads neither. */
struct Worker {
  const Server *server;
  const Channel *channel;
  Baton *baton;
  int fd;
  struct fuse_session *session;
  RequestContext context;
  char *request; /* SERVE_REQUEST_SIZE */
  guint handled;
  glong faults; /* of this thread, when it last counted them */
  GError *error;
};

/* Tells libfuse what was agreed with the kernel, in the form that it knows: as if the kernel
 * greeted this session. Its answer goes to a request that does not exist, and so nowhere. */
static void
worker_greet(Worker *worker)
{
  struct {
    struct fuse_in_header header;
    struct fuse_init_in init;
  } in = {
      .header = {.len = sizeof in, .opcode = FUSE_INIT, .unique = G_MAXUINT64 - 1},
      .init = {.major = FUSE_KERNEL_VERSION,
               .minor = worker->channel->minor,
               .flags = FUSE_MAX_PAGES},
  };
  struct fuse_buf buffer = {.mem = &in, .size = sizeof in};

  fuse_session_process_buf(worker->session, &buffer);
}

static gboolean
worker_start(Worker *worker, GError **error)
{
  char name[] = "nixstore-fuse", device[32];
  char *argv[] = {name, NULL};
  struct fuse_args args = FUSE_ARGS_INIT(1, argv);

  worker->session = fuse_session_new(&args, requests_operations(), sizeof(struct fuse_lowlevel_ops),
                                     &worker->context);
  fuse_opt_free_args(&args);
  snprintf(device, sizeof device, "/dev/fd/%d", worker->fd);
  if (!worker->session || fuse_session_mount(worker->session, device) != 0)
    return util_error(error, NIXSTORE_ERROR_FAILED, "start a FUSE session");
  worker_greet(worker);
  return TRUE;
}

static void
worker_refuse(const Worker *worker, guint64 unique, int error)
{
  struct fuse_out_header out = {.len = sizeof out, .error = -error, .unique = unique};

  /* ENOENT: whoever waited for it has given up. */
  if (write(worker->fd, &out, sizeof out) < 0 && errno != ENOENT)
    return;
}

/* An overlay above us asks for its metacopy mark on every file that it finds: where there are
 * xattrs at all, the most frequent request of a first walk. */
static gboolean
worker_refuse_overlay(const Worker *worker, const struct fuse_in_header *in, gsize size)
{
  const char *end = (const char *)in + size;
  const char *name = (const char *)(in + 1) + sizeof(struct fuse_getxattr_in);

  if (!index_has_xattrs(worker->server->index) || name >= end ||
      !memchr(name, '\0', (gsize)(end - name)) || !request_is_overlay_xattr(name))
    return FALSE;
  worker_refuse(worker, in->unique, ENODATA);
  return TRUE;
}

static void
worker_open(Worker *worker, const struct fuse_in_header *in)
{
  const Server *server = worker->server;

  request_let_go(&worker->context);
  guint64 nid = request_nid(server, in->nodeid);
  int id = passthrough_open(server->passthrough, server->index, server->data, nid);
  struct {
    struct fuse_out_header header;
    ProtocolOpenOut open;
  } out = {.header = {.len = sizeof out, .unique = in->unique},
           .open = {.fh = id > 0, .open_flags = FOPEN_KEEP_CACHE}};

  if (id < 0) {
    worker_refuse(worker, in->unique, id == -EUCLEAN ? EIO : -id);
    return;
  }
  if (id > 0) {
    out.open.open_flags = PROTOCOL_OPEN_PASSTHROUGH;
    out.open.backing_id = id;
  }
  /* There will be no read to tell. */
  if (id > 0 && server->ahead)
    ahead_note_read(server->ahead, nid);
  if (write(worker->fd, &out, sizeof out) < 0 && id > 0)
    passthrough_close(server->passthrough, nid);
}

static void
worker_release(const Worker *worker, const struct fuse_in_header *in, gsize size)
{
  const struct fuse_release_in *release = (const void *)(in + 1);

  worker_refuse(worker, in->unique, 0);
  if (size >= sizeof *in + sizeof *release && release->fh)
    passthrough_close(worker->server->passthrough, request_nid(worker->server, in->nodeid));
}

void
serve_worker_answer(Worker *worker, const void *request, gsize size)
{
  const struct fuse_in_header *in = request;
  guint64 *counters = worker->server->counters;

  if (size < sizeof *in)
    return;
  if (counters && in->opcode < SERVE_COUNTERS)
    __atomic_fetch_add(&counters[in->opcode], 1, __ATOMIC_RELAXED);
  switch (in->opcode) {
  case FUSE_FORGET:
  case FUSE_BATCH_FORGET:
    /* We remember nothing, and no answer is wanted. */
    return;
  case FUSE_INTERRUPT:
    /* No request takes longer than the store's file system does. An answer of ENOSYS would not keep
     * the kernel from asking again: it heeds that only through the clone which took the interrupted
     * request, whose thread is busy with that. */
    return;
  }
  if (worker->server->is_broken) {
    worker_refuse(worker, in->unique, EIO);
    return;
  }
  if (in->opcode == FUSE_GETXATTR && worker_refuse_overlay(worker, in, size))
    return;
  if (worker->server->passthrough && in->opcode == FUSE_OPEN) {
    worker_open(worker, in);
    return;
  }
  if (worker->server->passthrough && in->opcode == FUSE_RELEASE) {
    worker_release(worker, in, size);
    return;
  }
  struct fuse_buf buffer = {.mem = (void *)request, .size = size};
  fuse_session_process_buf(worker->session, &buffer);
}

static void
worker_trim(Worker *worker)
{
  static gint faults_of_all; /* since the index was last trimmed */
  struct rusage usage;

  if (++worker->handled % SERVE_TRIM_INTERVAL != 0 || getrusage(RUSAGE_THREAD, &usage) < 0)
    return;
  gint faults = (gint)(usage.ru_minflt + usage.ru_majflt - worker->faults);
  worker->faults += faults;
  if (faults == 0 || g_atomic_int_add(&faults_of_all, faults) + faults < SERVE_TRIM_FAULTS)
    return;
  g_atomic_int_set(&faults_of_all, 0);
  index_trim(worker->server->index);
}

static gssize
worker_take(Worker *worker)
{
  struct pollfd ready = {.fd = worker->fd, .events = POLLIN};
  gint64 until = worker->baton->poll_usec ? g_get_monotonic_time() + worker->baton->poll_usec : 0;

  /* Whoever else could run here comes first: of two processors, readers keep both busy. */
  while (until && poll(&ready, 1, 0) == 0 && g_get_monotonic_time() < until)
    sched_yield();
  return read(worker->fd, worker->request, SERVE_REQUEST_SIZE);
}

/* Returns FALSE at the end. */
static gboolean
worker_fail(Worker *worker, int error)
{
  /* ENOENT: that request was given up while it was handed over. */
  if (error == EINTR || error == EAGAIN || error == ENOENT)
    return TRUE;
  /* Unmounted; aborted by an administrator (/sys/fs/fuse/connections). */
  if (error == ENODEV || error == ECONNABORTED)
    return FALSE;
  errno = error;
  util_error_errno(&worker->error, "take a request from the kernel");
  return FALSE;
}

static void *
worker_run(void *data)
{
  Worker *worker = data;
  RequestContext *context = &worker->context;
  gboolean goes_on = TRUE;

  while (goes_on) {
    if (!context->baton) {
      pthread_mutex_lock(&worker->baton->mutex);
      context->baton = &worker->baton->mutex;
    }
    gssize size = worker_take(worker);
    if (size >= 0) {
      serve_worker_answer(worker, worker->request, (gsize)size);
      worker_trim(worker);
    } else {
      goes_on = worker_fail(worker, errno);
    }
  }
  request_let_go(context);
  return NULL;
}

static void
worker_init(Worker *worker, const Server *server, const Channel *channel, int fd)
{
  *worker = (Worker){.server = server, .channel = channel, .fd = fd};
  worker->context.server = server;
  worker->request = g_malloc(SERVE_REQUEST_SIZE);
  worker->context.reply = g_malloc(REQUESTS_REPLY_SIZE);
  /* A process that dies cannot fault pages in any more, and a request that the kernel is copying
   * into one at that moment would fail. */
  memset(worker->request, 0, SERVE_REQUEST_SIZE);
}

Worker *
serve_worker_new(const Server *server, const Channel *channel, int fd, GError **error)
{
  Worker *worker = g_new0(Worker, 1);

  worker_init(worker, server, channel, fd);
  if (worker_start(worker, error))
    return worker;
  serve_worker_free(worker);
  return NULL;
}

void
serve_worker_free(Worker *worker)
{
  if (worker->session)
    fuse_session_destroy(worker->session);
  g_free(worker->context.reply);
  g_free(worker->request);
  g_free(worker);
}

gboolean
serve_run(Server *server, const Channel *channel, const int *fds, gsize n_fds, GError **error)
{
  g_autofree Worker *workers = g_new0(Worker, n_fds);
  g_autofree pthread_t *threads = g_new0(pthread_t, n_fds);
  Baton baton = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                 .poll_usec = g_get_num_processors() > 1 ? SERVE_POLL_USEC : 0};
  gsize running = 0;

  if (!server->is_broken && !mountapi_is_disabled("fuse-ahead"))
    server->ahead = ahead_new(server->index, server->data);
  if (server->passthrough)
    passthrough_start(server->passthrough);
  for (gsize i = 0; i < n_fds; i++) {
    worker_init(&workers[i], server, channel, fds[i]);
    workers[i].baton = &baton;
    if (!worker_start(&workers[i], error))
      return FALSE;
  }
  for (; running + 1 < n_fds; running++)
    if (pthread_create(&threads[running], NULL, worker_run, &workers[running]) != 0)
      break;
  worker_run(&workers[running]);
  for (gsize i = 0; i < running; i++)
    pthread_join(threads[i], NULL);
  for (gsize i = 0; i <= running; i++) {
    if (workers[i].error) {
      g_propagate_error(error, workers[i].error);
      return FALSE;
    }
  }
  return TRUE;
}
