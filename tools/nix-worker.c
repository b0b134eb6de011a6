/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nix-worker.h"
#include "scratch.h"
#include "settings.h"
#include "store.h"
#include "util.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define MAGIC_CLIENT 0x6e697863
#define MAGIC_SERVER 0x6478696f
#define PROTOCOL(major, minor) ((major) << 8 | (minor))
/* The first with AddToStore as it is used here. */
#define PROTOCOL_VERSION PROTOCOL(1, 25)

#define OP_ADD_TO_STORE 7
/* What `nix-store --add' asks for: SHA-256 of the NAR. */
#define CONTENT_ADDRESS_METHOD "fixed:r:sha256"

/* What comes from the other end while an operation runs. */
enum {
  MESSAGE_NEXT = 0x6f6c6d67,
  MESSAGE_LAST = 0x616c7473,
  MESSAGE_ERROR = 0x63787470,
  MESSAGE_START_ACTIVITY = 0x53545254,
  MESSAGE_STOP_ACTIVITY = 0x53544f50,
  MESSAGE_RESULT = 0x52534c54,
};

#define STRING_MAX (1024 * 1024)
#define FIELDS_MAX 1024
#define LOG_MAX (64 * 1024)
/* As much as fcntl(2) lets everybody have. */
#define PIPE_SIZE (1024 * 1024)

struct NixWorker {
  GPid pid;         /* 0: none */
  int to, from;     /* its standard input and output */
  int log;          /* its standard error */
  GByteArray *send; /* what is to be sent next */
  GThread *reply;   /* reads while we write: both pipes might fill up */
};

static gboolean
broken(GError **error)
{
  return util_error(error, NIXSTORE_ERROR_FAILED, "its answer is not understood");
}

/* ---- sending */

static void
put_number(NixWorker *worker, guint64 number)
{
  guint64 little = GUINT64_TO_LE(number);

  g_byte_array_append(worker->send, (const guint8 *)&little, sizeof little);
}

static void
put_string(NixWorker *worker, const char *text)
{
  static const guint8 zeroes[8];
  gsize size = strlen(text);

  put_number(worker, size);
  g_byte_array_append(worker->send, (const guint8 *)text, (guint)size);
  g_byte_array_append(worker->send, zeroes, (8 - size % 8) % 8);
}

/* writev(2) of everything, without SIGPIPE. */
static gboolean
write_vector(int fd, struct iovec *vector, int count)
{
  static const struct timespec at_once;
  sigset_t pipe_signal, old;
  ssize_t n = 0;

  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
  while (count > 0) {
    n = writev(fd, vector, count);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      break;
    for (; count > 0 && (gsize)n >= vector->iov_len; vector++, count--)
      n -= (ssize_t)vector->iov_len;
    if (count > 0) {
      vector->iov_base = (guint8 *)vector->iov_base + n;
      vector->iov_len -= (gsize)n;
    }
  }
  if (n < 0 && errno == EPIPE) {
    sigtimedwait(&pipe_signal, NULL, &at_once);
    errno = EPIPE;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return count == 0;
}

/* What the program has to say of its end. */
static gboolean
ended(NixWorker *worker, GError **error)
{
  g_autofree char *text = g_malloc0(LOG_MAX + 1);
  g_autofree char *message = NULL;

  /* It closes its output last: all is written. */
  if (pread(worker->log, text, LOG_MAX, 0) < 0)
    *text = '\0';
  message = store_message(text);
  return util_error(error, NIXSTORE_ERROR_FAILED, "nix-daemon ended: %s", message);
}

/* Sends what was put, and @size bytes of @data behind it. */
static gboolean
send_with(NixWorker *worker, const void *data, gsize size, GError **error)
{
  struct iovec vector[] = {
      {worker->send->data, worker->send->len},
      {(void *)data, size},
  };
  gboolean ok = write_vector(worker->to, vector, G_N_ELEMENTS(vector));

  g_byte_array_set_size(worker->send, 0);
  if (ok)
    return TRUE;
  if (errno != EPIPE)
    return util_error_errno(error, "write to nix-daemon");
  return ended(worker, error);
}

/* ---- receiving */

static gboolean
get_bytes(NixWorker *worker, void *data, gsize size, GError **error)
{
  guint8 *next = data;

  while (size > 0) {
    ssize_t n = read(worker->from, next, size);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return util_error_errno(error, "read from nix-daemon");
    if (n == 0)
      return ended(worker, error);
    next += n;
    size -= (gsize)n;
  }
  return TRUE;
}

static gboolean
get_number(NixWorker *worker, guint64 *ret_number, GError **error)
{
  guint64 little;

  if (!get_bytes(worker, &little, sizeof little, error))
    return FALSE;
  *ret_number = GUINT64_FROM_LE(little);
  return TRUE;
}

static char *
get_string(NixWorker *worker, GError **error)
{
  g_autofree char *text = NULL;
  guint64 size;

  if (!get_number(worker, &size, error))
    return NULL;
  if (size > STRING_MAX) {
    broken(error);
    return NULL;
  }
  text = g_malloc0(size + 8);
  if (!get_bytes(worker, text, (size + 7) / 8 * 8, error))
    return NULL;
  text[size] = '\0';
  return g_steal_pointer(&text);
}

static gboolean
skip_numbers(NixWorker *worker, guint count, GError **error)
{
  guint64 number;

  while (count-- > 0)
    if (!get_number(worker, &number, error))
      return FALSE;
  return TRUE;
}

static gboolean
skip_string(NixWorker *worker, GError **error)
{
  g_autofree char *text = get_string(worker, error);

  return text != NULL;
}

/* An activity's or a result's: a count, and each a type and a number or a string. */
static gboolean
skip_fields(NixWorker *worker, GError **error)
{
  guint64 count, type;

  if (!get_number(worker, &count, error))
    return FALSE;
  if (count > FIELDS_MAX)
    return broken(error);
  while (count-- > 0) {
    if (!get_number(worker, &type, error))
      return FALSE;
    if (type > 1)
      return broken(error);
    if (!(type == 0 ? skip_numbers(worker, 1, error) : skip_string(worker, error)))
      return FALSE;
  }
  return TRUE;
}

static gboolean
get_error(NixWorker *worker, GError **error)
{
  g_autofree char *text = get_string(worker, error);
  g_autofree char *message = text != NULL ? store_message(text) : NULL;

  return message != NULL && util_error(error, NIXSTORE_ERROR_FAILED, "%s", message);
}

/* Reads up to the end of an operation. What Nix says meanwhile is dropped, as a program's standard
 * error that succeeds. */
static gboolean
get_messages(NixWorker *worker, GError **error)
{
  guint64 message;
  gboolean ok = TRUE;

  while (ok) {
    if (!get_number(worker, &message, error))
      return FALSE;
    switch (message) {
    case MESSAGE_LAST:
      return TRUE;
    case MESSAGE_ERROR:
      return get_error(worker, error);
    case MESSAGE_NEXT:
      ok = skip_string(worker, error);
      break;
    case MESSAGE_START_ACTIVITY: /* its number, level, type; text; fields; the parent's number */
      ok = skip_numbers(worker, 3, error) && skip_string(worker, error) &&
           skip_fields(worker, error) && skip_numbers(worker, 1, error);
      break;
    case MESSAGE_STOP_ACTIVITY:
      ok = skip_numbers(worker, 1, error);
      break;
    case MESSAGE_RESULT:
      ok = skip_numbers(worker, 2, error) && skip_fields(worker, error);
      break;
    default:
      return broken(error);
    }
  }
  return FALSE;
}

/* ---- the program */

/* Nix's programs lie in one directory. */
static char *
find_program(const char *nix_store)
{
  g_autofree char *directory = NULL;

  if (strchr(nix_store, '/') == NULL)
    return g_strdup("nix-daemon");
  directory = g_path_get_dirname(nix_store);
  return g_build_filename(directory, "nix-daemon", NULL);
}

static gboolean
spawn(NixWorker *worker, GError **error)
{
  const Settings *settings = settings_get(error);
  g_autofree char *program = settings != NULL ? find_program(settings->nix_store) : NULL;
  char *argv[] = {program, (char *)"--stdio", NULL};
  int input[2], output[2];
  autofd int its_input = -1, its_output = -1;

  if (program == NULL)
    return FALSE;
  worker->log = memfd_create("nix-daemon", MFD_CLOEXEC);
  if (worker->log < 0 || pipe2(input, O_CLOEXEC) < 0)
    return util_error_errno(error, "make a pipe");
  its_input = input[0];
  worker->to = input[1];
  if (pipe2(output, O_CLOEXEC) < 0)
    return util_error_errno(error, "make a pipe");
  worker->from = output[0];
  its_output = output[1];
  fcntl(worker->to, F_SETPIPE_SZ, PIPE_SIZE);
  return g_spawn_async_with_fds(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                                scratch_child_setup, NULL, &worker->pid, its_input, its_output,
                                worker->log, error);
}

static gboolean
greet(NixWorker *worker, GError **error)
{
  guint64 magic, version;

  put_number(worker, MAGIC_CLIENT);
  put_number(worker, PROTOCOL_VERSION);
  put_number(worker, 0); /* no CPU affinity */
  put_number(worker, 0); /* no reserved space; both obsolete */
  if (!send_with(worker, NULL, 0, error) || !get_number(worker, &magic, error) ||
      !get_number(worker, &version, error))
    return FALSE;
  if (magic != MAGIC_SERVER || version >> 8 != PROTOCOL_VERSION >> 8 || version < PROTOCOL_VERSION)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "nix-daemon's protocol is another");
  return get_messages(worker, error);
}

NixWorker *
nix_worker_open(GError **error)
{
  g_autoptr(NixWorker) worker = g_new0(NixWorker, 1);

  worker->to = worker->from = worker->log = -1;
  worker->send = g_byte_array_new();
  return spawn(worker, error) && greet(worker, error) ? g_steal_pointer(&worker) : NULL;
}

void
nix_worker_close(NixWorker *worker)
{
  if (worker == NULL)
    return;
  /* At the end of its input it ends; what it had begun goes. */
  util_close_fd(&worker->to);
  if (worker->reply != NULL) {
    GError *unread = g_thread_join(worker->reply);
    g_clear_error(&unread);
  }
  util_close_fd(&worker->from);
  util_close_fd(&worker->log);
  if (worker->pid > 0)
    while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
      ;
  g_byte_array_unref(worker->send);
  g_free(worker);
}

static gpointer
reply_thread(gpointer worker)
{
  GError *error = NULL;

  get_messages(worker, &error);
  return error;
}

/* Waits until the operation is through. */
static gboolean
finish(NixWorker *worker, GError **error)
{
  GError *found = g_thread_join(g_steal_pointer(&worker->reply));

  if (found == NULL)
    return TRUE;
  g_propagate_prefixed_error(error, found, "add to the Nix store: ");
  return FALSE;
}

/* A piece of the archive, or its end. Who cannot send has been told why. */
static gboolean
send_frame(NixWorker *worker, const void *data, gsize size, GError **error)
{
  put_number(worker, size);
  return send_with(worker, data, size, NULL) || (finish(worker, error) && broken(error));
}

gboolean
nix_worker_begin_add(NixWorker *worker, const char *name, GError **error)
{
  put_number(worker, OP_ADD_TO_STORE);
  put_string(worker, name);
  put_string(worker, CONTENT_ADDRESS_METHOD);
  put_number(worker, 0); /* references */
  put_number(worker, 0); /* whether to repair */
  if (!send_with(worker, NULL, 0, error))
    return FALSE;
  worker->reply = g_thread_new("nix", reply_thread, worker);
  return TRUE;
}

gboolean
nix_worker_write(NixWorker *worker, const void *data, gsize size, GError **error)
{
  if (size == 0) /* would be the end */
    return TRUE;
  return send_frame(worker, data, size, error);
}

char *
nix_worker_end_add(NixWorker *worker, GError **error)
{
  g_autofree char *path = NULL;

  if (!send_frame(worker, NULL, 0, error) || !finish(worker, error))
    return NULL;
  /* What else Nix knows of it follows, and nobody wants it. */
  path = get_string(worker, error);
  if (path == NULL || !store_path_check(path, error)) {
    g_prefix_error(error, "add to the Nix store: nix-daemon's answer: ");
    return NULL;
  }
  return g_steal_pointer(&path);
}
