/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inodes out of an index. Whoever calls is root of a user namespace in which the ids of the image
 * are what they are called there.
 */
#include "config.h"

#include "overlaydir.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "index.h"
#include "util.h"

#define WRITE_MAX_DEPTH (PATH_MAX / 2)
#define WRITE_USER_OVERLAY "user.overlay."

typedef struct {
  const Index *index;
  int root_fd;
  GHashTable *links; /* nid (guint64 *) to the path of its first name, of inodes with several */
  GString *path;     /* of what is being written, without a leading slash */
  guint depth;
  GError **error;
} Writer;

typedef struct {
  Writer *writer;
  int fd;
  gboolean ok;
} WriterDirectory;

static gboolean write_children(Writer *writer, int fd, guint64 nid);

/* What keeps this one image from being written keeps it so for ever. */
static gboolean
write_failed(const Writer *writer, const char *what)
{
  gboolean is_lasting = errno == EINVAL || errno == EPERM || errno == EFBIG ||
                        errno == EOPNOTSUPP || errno == ENAMETOOLONG || errno == EMFILE ||
                        errno == EOVERFLOW || errno == E2BIG;
  int saved = errno;

  return util_error(writer->error, is_lasting ? NIXSTORE_ERROR_UNSUPPORTED : NIXSTORE_ERROR_FAILED,
                    "%s /%s: %s", what, writer->path->str, g_strerror(saved));
}

static gboolean
write_corrupt(const Writer *writer, int result)
{
  errno = -result;
  return util_error_errno(writer->error, "read /%s in the index", writer->path->str);
}

/* The name of the entry @name of @fd by way of /proc, for the calls that take no descriptor. */
static void
write_name(char *buffer, gsize size, int fd, const char *name)
{
  g_snprintf(buffer, size, "/proc/self/fd/%d/%s", fd, name);
}

static gboolean
write_xattr(const Writer *writer, const char *at, const char *name, guint64 nid)
{
  g_autofree char *value = NULL;
  g_autofree char *escaped = NULL;
  gssize size = index_getxattr(writer->index, nid, name, NULL, 0);

  if (size >= 0) {
    value = g_malloc((gsize)size + 1);
    size = index_getxattr(writer->index, nid, name, value, (gsize)size);
  }
  if (size < 0)
    return write_corrupt(writer, (int)size);
  /* Not to be obeyed: overlayfs takes one "overlay." away again. */
  if (g_str_has_prefix(name, WRITE_USER_OVERLAY))
    escaped = g_strconcat(WRITE_USER_OVERLAY "overlay.", name + strlen(WRITE_USER_OVERLAY), NULL);
  return lsetxattr(at, escaped ? escaped : name, value, (gsize)size, 0) == 0 ||
         write_failed(writer, "set an extended attribute of");
}

static gboolean
write_xattrs(const Writer *writer, const char *at, guint64 nid)
{
  gssize size = index_has_xattrs(writer->index) ? index_listxattr(writer->index, nid, NULL, 0) : 0;

  if (size <= 0)
    return size == 0 || write_corrupt(writer, (int)size);
  g_autofree char *names = g_malloc((gsize)size);
  size = index_listxattr(writer->index, nid, names, (gsize)size);
  for (const char *name = names; name < names + size; name += strlen(name) + 1)
    if (!write_xattr(writer, at, name, nid))
      return FALSE;
  return TRUE;
}

/* Owner, mode, xattrs, times, in the order in which none undoes another. */
static gboolean
write_attributes(const Writer *writer, int fd, const char *name, guint64 nid, const IndexStat *st)
{
  const struct timespec time = {.tv_sec = st->mtime, .tv_nsec = st->mtime_nsec};
  const struct timespec times[] = {time, time};
  char at[NAME_MAX + 64];

  write_name(at, sizeof at, fd, name);
  if (lchown(at, st->uid, st->gid) < 0)
    return write_failed(writer, "set the owner of");
  if (!S_ISLNK(st->mode) && chmod(at, st->mode & 07777) < 0)
    return write_failed(writer, "set the mode of");
  if (!write_xattrs(writer, at, nid))
    return FALSE;
  return utimensat(AT_FDCWD, at, times, AT_SYMLINK_NOFOLLOW) == 0 ||
         write_failed(writer, "set the times of");
}

/* In this order: in an inode of 256 bytes ext4 has room for a redirect of 56 bytes. What then lies
 * outside is the mark alone, the same for all, and ext4 keeps equal blocks of xattrs once for 1,024
 * inodes. The other way around each file has a block of its own, which a cold walk reads. */
static gboolean
write_redirect(const Writer *writer, int fd, guint64 nid)
{
  char redirect[PATH_MAX];
  int result = index_redirect(writer->index, nid, redirect, sizeof redirect);

  if (result == -ENODATA)
    return TRUE;
  if (result < 0)
    return write_corrupt(writer, result);
  return (fsetxattr(fd, WRITE_USER_OVERLAY "redirect", redirect, strlen(redirect), 0) == 0 &&
          fsetxattr(fd, WRITE_USER_OVERLAY "metacopy", "", 0, 0) == 0) ||
         write_failed(writer, "name the content of");
}

static gboolean
write_regular(const Writer *writer, int parent, const char *name, guint64 nid, const IndexStat *st)
{
  autofd int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

  if (fd < 0 || ftruncate(fd, (off_t)st->size) < 0)
    return write_failed(writer, "create the file");
  return write_redirect(writer, fd, nid);
}

static gboolean
write_symlink(const Writer *writer, int parent, const char *name, guint64 nid)
{
  const char *target;
  gsize size;
  int result = index_readlink(writer->index, nid, &target, &size);

  if (result < 0)
    return write_corrupt(writer, result);
  g_autofree char *text = g_strndup(target, size);
  return symlinkat(text, parent, name) == 0 || write_failed(writer, "create the symlink");
}

static gboolean
write_directory(Writer *writer, int parent, const char *name, guint64 nid)
{
  if (mkdirat(parent, name, 0700) < 0)
    return write_failed(writer, "create the directory");
  autofd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return write_failed(writer, "open the directory");
  return write_children(writer, fd, nid);
}

/* A further name of an inode that has one already: *ret_done. */
static gboolean
write_link(Writer *writer, int parent, const char *name, guint64 nid, gboolean *ret_done)
{
  const char *first = g_hash_table_lookup(writer->links, &nid);

  if (!first) {
    g_hash_table_insert(writer->links, g_memdup2(&nid, sizeof nid), g_strdup(writer->path->str));
    return TRUE;
  }
  *ret_done = TRUE;
  return linkat(writer->root_fd, first, parent, name, 0) == 0 ||
         write_failed(writer, "create the hard link");
}

static gboolean
write_inode(Writer *writer, int parent, const char *name, guint64 nid)
{
  IndexStat st;
  gboolean done = FALSE, ok = TRUE;
  int result = index_stat(writer->index, nid, &st);

  if (result < 0)
    return write_corrupt(writer, result);
  if (st.nlink > 1 && !S_ISDIR(st.mode) && !write_link(writer, parent, name, nid, &done))
    return FALSE;
  if (done)
    return TRUE;
  switch (st.mode & S_IFMT) {
  case S_IFREG:
    ok = write_regular(writer, parent, name, nid, &st);
    break;
  case S_IFDIR:
    ok = write_directory(writer, parent, name, nid);
    break;
  case S_IFLNK:
    ok = write_symlink(writer, parent, name, nid);
    break;
  case S_IFIFO:
    ok = mkfifoat(parent, name, 0600) == 0 || write_failed(writer, "create the FIFO");
    break;
  default:
    return util_error(writer->error, NIXSTORE_ERROR_UNSUPPORTED,
                      "/%s is a device, which cannot be made here", writer->path->str);
  }
  return ok && write_attributes(writer, parent, name, nid, &st);
}

static gboolean
write_entry(void *data, const char *name, gsize name_size, guint64 nid, unsigned type, guint64 next)
{
  WriterDirectory *directory = data;
  Writer *writer = directory->writer;
  gsize length = writer->path->len;
  char text[NAME_MAX + 1];

  g_strlcpy(text, name, MIN(sizeof text, name_size + 1));
  if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
    return TRUE;
  if (length > 0)
    g_string_append_c(writer->path, '/');
  g_string_append(writer->path, text);
  directory->ok = write_inode(writer, directory->fd, text, nid);
  g_string_truncate(writer->path, length);
  return directory->ok;
}

static gboolean
write_children(Writer *writer, int fd, guint64 nid)
{
  WriterDirectory directory = {writer, fd, TRUE};

  if (writer->depth == WRITE_MAX_DEPTH)
    return util_error(writer->error, NIXSTORE_ERROR_UNSUPPORTED, "/%s lies too deep",
                      writer->path->str);
  writer->depth++;
  int result = index_readdir(writer->index, nid, 0, write_entry, &directory);
  writer->depth--;
  return directory.ok && (result >= 0 || write_corrupt(writer, result));
}

gboolean
overlaydir_write(int root_fd, int index_fd, GError **error)
{
  g_autoptr(Index) index = index_open(index_fd, error);
  g_autoptr(GHashTable) links = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
  g_autoptr(GString) path = g_string_new(NULL);
  Writer writer = {index, root_fd, links, path, 0, error};
  IndexStat st;

  if (!index)
    return FALSE;
  guint64 root = index_root_nid(index);
  int result = index_stat(index, root, &st);
  if (result < 0)
    return write_corrupt(&writer, result);
  return write_children(&writer, root_fd, root) &&
         write_attributes(&writer, root_fd, ".", root, &st);
}
