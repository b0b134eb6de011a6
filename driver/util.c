/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

G_DEFINE_QUARK(nixstore - error - quark, nixstore_error)

static NixstoreError
code_of_errno(int number)
{
  switch (number) {
  case ENOENT:
    return NIXSTORE_ERROR_NOT_FOUND;
  case ENOSYS:
  case EOPNOTSUPP:
    return NIXSTORE_ERROR_UNSUPPORTED;
  default:
    return NIXSTORE_ERROR_FAILED;
  }
}

gboolean
util_error_errno(GError **error, const char *format, ...)
{
  int saved = errno;
  va_list args;
  g_autofree char *text = NULL;

  va_start(args, format);
  text = g_strdup_vprintf(format, args);
  va_end(args);
  g_set_error(error, NIXSTORE_ERROR, code_of_errno(saved), "%s: %s", text, g_strerror(saved));
  errno = saved;
  return FALSE;
}

gboolean
util_error(GError **error, NixstoreError code, const char *format, ...)
{
  va_list args;

  va_start(args, format);
  if (error != NULL)
    *error = g_error_new_valist(NIXSTORE_ERROR, (int)code, format, args);
  va_end(args);
  return FALSE;
}

void
util_prepare_process(void)
{
  int fd;

  signal(SIGCHLD, SIG_DFL);
  /* Not O_CLOEXEC: they are for the programs that we run too. */
  do
    fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  util_close_fd(&fd);
}

char *
util_escape(const char *text)
{
  GString *out = g_string_new(NULL);
  const char *end = text + strlen(text);

  while (text < end) {
    gunichar c = g_utf8_get_char_validated(text, end - text);
    const char *next = text + 1;

    if (c == (gunichar)-1 || c == (gunichar)-2)
      g_string_append_printf(out, "\\x%02x", (guint8)*text);
    else if (!g_unichar_isprint(c))
      for (next = g_utf8_next_char(text); text < next; text++)
        g_string_append_printf(out, "\\x%02x", (guint8)*text);
    else {
      next = g_utf8_next_char(text);
      g_string_append_len(out, text, next - text);
    }
    text = next;
  }
  return g_string_free(out, FALSE);
}

int
util_openat2(int dirfd, const char *path, int flags, mode_t mode, guint64 resolve)
{
  struct open_how how = {
      .flags = (guint64)(flags | O_CLOEXEC),
      .mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0,
      .resolve = resolve,
  };
  int fd;

  /* EAGAIN: a rename raced with the walk (openat2(2)). */
  do
    fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
  while (fd < 0 && (errno == EAGAIN || errno == EINTR));
  return fd;
}

char *
util_read_all(int fd, gsize max, const char *name, gsize *ret_size, GError **error)
{
  struct stat st;
  g_autofree char *data = NULL;
  gsize done = 0;

  if (fstat(fd, &st) < 0) {
    util_error_errno(error, "stat `%s`", name);
    return NULL;
  }
  if (!S_ISREG(st.st_mode)) {
    util_error(error, NIXSTORE_ERROR_INVALID, "`%s` is not a regular file", name);
    return NULL;
  }
  if ((guint64)st.st_size > max) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "`%s` has %" G_GUINT64_FORMAT " bytes, more than the %" G_GSIZE_FORMAT " allowed",
               name, (guint64)st.st_size, max);
    return NULL;
  }
  data = g_try_malloc((gsize)st.st_size + 1);
  if (data == NULL) {
    errno = ENOMEM;
    util_error_errno(error, "read `%s`", name);
    return NULL;
  }
  while (done < (gsize)st.st_size) {
    ssize_t n = pread(fd, data + done, (gsize)st.st_size - done, (off_t)done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      util_error_errno(error, "read `%s`", name);
      return NULL;
    }
    if (n == 0)
      break;
    done += (gsize)n;
  }
  data[done] = '\0';
  if (ret_size != NULL)
    *ret_size = done;
  return g_steal_pointer(&data);
}

gboolean
util_write_all(int fd, const void *data, gsize size)
{
  const char *next = data;

  while (size > 0) {
    ssize_t n = write(fd, next, size);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return FALSE;
    next += n;
    size -= (gsize)n;
  }
  return TRUE;
}

gboolean
util_replace_file(int dirfd, const char *name, const void *data, gsize size, mode_t mode,
                  GError **error)
{
  g_autofree char *aside = g_strdup_printf(".%s.%d.%08x", name, getpid(), g_random_int());
  autofd int fd = openat(dirfd, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

  if (fd < 0)
    return util_error_errno(error, "create `%s`", aside);
  if (!util_write_all(fd, data, size) || fsync(fd) < 0 || renameat(dirfd, aside, dirfd, name) < 0) {
    util_error_errno(error, "write `%s`", name);
    unlinkat(dirfd, aside, 0);
    return FALSE;
  }
  if (fsync(dirfd) < 0)
    return util_error_errno(error, "sync the directory of `%s`", name);
  return TRUE;
}

gboolean
util_make_directory(const char *path, mode_t mode, GError **error)
{
  if (g_mkdir_with_parents(path, (int)mode) < 0)
    return util_error_errno(error, "create directory `%s`", path);
  return TRUE;
}

/* Opens the subdirectory @name of @dirfd for emptying; one that its owner may not enter is opened
 * up first. -1 with errno otherwise: for what is no directory that is @refused, why it could not be
 * unlinked. */
static int
open_for_removal(int dirfd, const char *name, int refused)
{
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  struct stat st;
  int fd = openat(dirfd, name, flags);

  if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
    fd = openat(dirfd, name, flags);
  if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
    fchmod(fd, (st.st_mode & 07777) | 0700);
  if (fd < 0 && errno == ENOTDIR)
    errno = refused;
  return fd;
}

GPtrArray *
util_list_directory(int fd, const char *what, GError **error)
{
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  autofd int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *stream = copy < 0 ? NULL : fdopendir(copy);
  struct dirent *entry;

  if (!stream) {
    util_error_errno(error, "read the directory %s", what);
    return NULL;
  }
  util_steal_fd(&copy);
  while ((errno = 0, entry = readdir(stream)))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      g_ptr_array_add(names, g_strdup(entry->d_name));
  gboolean ok = errno == 0 || util_error_errno(error, "read the directory %s", what);
  closedir(stream);
  return ok ? g_steal_pointer(&names) : NULL;
}

/* Unlinks what is no directory in @stream, of which @st tells. Returns an open stream of the first
 * subdirectory on the same device, whose name is then in @ret_name and of which then @st tells, or
 * NULL: errno 0 at the end, else the failure. */
static DIR *
empty_until_subdirectory(DIR *stream, struct stat *st, char *ret_name)
{
  struct dirent *entry;

  rewinddir(stream);
  while (errno = 0, (entry = readdir(stream)) != NULL) {
    struct stat below;
    autofd int fd = -1;

    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    if (unlinkat(dirfd(stream), entry->d_name, 0) == 0)
      continue;
    int refused = errno;
    if (unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
      continue;
    fd = open_for_removal(dirfd(stream), entry->d_name, refused);
    if (fd < 0 || fstat(fd, &below) < 0)
      return NULL;
    if (below.st_dev != st->st_dev) {
      errno = EXDEV;
      return NULL;
    }
    *st = below;
    g_strlcpy(ret_name, entry->d_name, NAME_MAX + 1);
    return fdopendir(util_steal_fd(&fd));
  }
  return NULL;
}

gboolean
util_remove_tree(int parent_fd, const char *name, GError **error)
{
  /* One directory is open at a time and the way up is "..": a tree may be deeper than descriptors
   * or the C stack allow. */
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GArray) inodes = g_array_new(FALSE, FALSE, sizeof(ino_t)); /* of their parents */
  struct stat st;
  DIR *stream;
  autofd int top = -1;

  if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
    return TRUE;
  top = open_for_removal(parent_fd, name, errno);
  if (top < 0 || fstat(top, &st) < 0)
    return util_error_errno(error, "remove `%s`", name);
  stream = fdopendir(util_steal_fd(&top));
  while (stream != NULL) {
    char child[NAME_MAX + 1];
    ino_t inode = st.st_ino;
    DIR *below = empty_until_subdirectory(stream, &st, child);
    autofd int above = -1;
    g_autofree char *done = NULL;

    if (below != NULL) {
      g_array_append_val(inodes, inode);
      closedir(stream);
      stream = below;
      g_ptr_array_add(names, g_strdup(child));
      continue;
    }
    if (errno != 0) {
      util_error_errno(error, "remove `%s`", name);
      closedir(stream);
      return FALSE;
    }
    if (names->len == 0) {
      closedir(stream);
      break;
    }
    above = openat(dirfd(stream), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    closedir(stream);
    done = g_ptr_array_steal_index(names, names->len - 1);
    ino_t expected = g_array_index(inodes, ino_t, names->len);
    g_array_set_size(inodes, names->len);
    /* Somebody who moves the directory meanwhile must not lead us elsewhere. */
    if (above >= 0 && (fstat(above, &st) < 0 || st.st_ino != expected))
      return util_error(error, NIXSTORE_ERROR_FAILED, "remove `%s`: it was moved meanwhile", name);
    if (above < 0 || unlinkat(above, done, AT_REMOVEDIR) < 0)
      return util_error_errno(error, "remove `%s` in `%s`", done, name);
    stream = fdopendir(util_steal_fd(&above));
  }
  if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
    return util_error_errno(error, "remove `%s`", name);
  return TRUE;
}

gboolean
util_parse_size(const char *text, guint64 *ret_size)
{
  static const char units[] = "KMGT";
  char *end;
  guint shift = 0;

  errno = 0;
  guint64 value = g_ascii_strtoull(text, &end, 10);
  const char *unit = *end != '\0' ? strchr(units, g_ascii_toupper(*end)) : NULL;
  if (unit) {
    shift = 10 * (guint)(unit - units + 1);
    end++;
  }
  if (!g_ascii_isdigit(*text) || *end != '\0' || errno != 0 || value > G_MAXUINT64 >> shift)
    return FALSE;
  *ret_size = value << shift;
  return TRUE;
}

gboolean
util_digest_is_valid(const char *digest)
{
  return g_str_has_prefix(digest, "sha256:") && strlen(digest) == strlen("sha256:") + 64 &&
         strspn(digest + strlen("sha256:"), "0123456789abcdef") == 64;
}

char *
util_sha256_hex(const void *data, gsize size)
{
  return g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, size);
}
