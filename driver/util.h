/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Small helpers that every module may use: owned descriptors, errors, paths beneath a root,
 * durable writes. Stands on GLib and the kernel alone.
 *
 * Error convention of driver/ and tools/: a function that can fail takes a GError ** last and
 * returns FALSE, NULL or -1 with it set; out parameters (ret_...) are then untouched. The text is
 * one line that says what was tried on what; callers add context with g_prefix_error(). The library
 * never logs and never exits; only main() prints. fuse/'s request path uses errno instead.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NIXSTORE_ERROR (nixstore_error_quark())
GQuark nixstore_error_quark(void);

typedef enum {
  NIXSTORE_ERROR_FAILED,      /* a system call or a program failed */
  NIXSTORE_ERROR_INVALID,     /* input breaks its format or its rules */
  NIXSTORE_ERROR_NOT_FOUND,   /* something named does not exist */
  NIXSTORE_ERROR_UNTRUSTED,   /* well-formed, but must not be followed */
  NIXSTORE_ERROR_UNSUPPORTED, /* this kernel or this version cannot do it */
} NixstoreError;

/* Sets @error to "<formatted text>: <strerror (errno)>" (NOT_FOUND for ENOENT, UNSUPPORTED for
 * ENOSYS and EOPNOTSUPP, else FAILED). Keeps errno. Always returns FALSE, so that it can be
 * returned. */
gboolean util_error_errno(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Sets @error with the given code. Always returns FALSE. */
gboolean util_error(GError **error, NixstoreError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* What main() calls first: undoes what a caller may have handed down through exec(2) that would
 * make ours misbehave. SIGCHLD ignored, which leaves waitpid(2) without any child's exit status;
 * and standard descriptors closed, whose numbers the next files to be opened would get, and
 * messages go to. */
void util_prepare_process(void);

/* A text that a person reads on one line: control characters, newlines and invalid UTF-8 become
 * C escapes. Returned text is the caller's. */
char *util_escape(const char *text);

static inline void
util_close_fd(int *fd)
{
  if (*fd >= 0) {
    int saved = errno;
    close(*fd);
    errno = saved;
    *fd = -1;
  }
}

static inline int
util_steal_fd(int *fd)
{
  int stolen = *fd;
  *fd = -1;
  return stolen;
}

/* `autofd int fd = -1;` is closed when it leaves scope. Return it with util_steal_fd(). */
#define autofd __attribute__((cleanup(util_close_fd)))

/* Opens @path below @dirfd with openat2(2). @resolve: RESOLVE_* flags, as in
 * RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS; O_CLOEXEC is added. Returns a descriptor or -1 with errno
 * (EXDEV or ELOOP where the path tries to leave @dirfd). Retries EAGAIN. */
int util_openat2(int dirfd, const char *path, int flags, mode_t mode, guint64 resolve);

/* Reads all of the regular file @fd from its start. Refuses more than @max bytes (INVALID).
 * @name is for the error alone. The data is NUL-terminated beyond its length. */
char *util_read_all(int fd, gsize max, const char *name, gsize *ret_size, GError **error);

/* Writes all @size bytes, going on after EINTR and short writes. errno on failure. */
gboolean util_write_all(int fd, const void *data, gsize size);

/* Replaces @dirfd/@name with @data: written aside, fsynced, renamed, the directory fsynced. Nothing
 * is left behind on failure; a reader sees the old content or the new, whole. */
gboolean util_replace_file(int dirfd, const char *name, const void *data, gsize size, mode_t mode,
                           GError **error);

/* Makes @path and its parents with @mode. An existing directory is fine. */
gboolean util_make_directory(const char *path, mode_t mode, GError **error);

/* The names in the directory @fd (whose offset does not move) but "." and "..", in the order in
 * which the kernel gives them. @what names the directory in errors. The array frees its names. */
GPtrArray *util_list_directory(int fd, const char *what, GError **error);

/* Removes @parent_fd/@name and all beneath it, without following symlinks or leaving the file
 * system; directories that lack owner permissions are given them first. Missing is success. */
gboolean util_remove_tree(int parent_fd, const char *name, GError **error);

/* Reads a number of bytes: decimal digits and perhaps K, M, G or T (powers of 1024). FALSE for
 * anything else, and for more than 64 bits hold. */
gboolean util_parse_size(const char *text, guint64 *ret_size);

/* Whether @digest is "sha256:<64 lower-case hexadecimal digits>". */
gboolean util_digest_is_valid(const char *digest);

/* Lower-case hexadecimal SHA-256 of @data, without a prefix. Caller frees. */
char *util_sha256_hex(const void *data, gsize size);
