/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "data.h"

#include <dirent.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>

#include "util.h"

/* 256 open files: enough for every reader of large files to find its own again, and far from the
 * usual limit of 1024. */
#define DATA_SETS 64
#define DATA_WAYS 4
/* How far an example is looked for. */
#define DATA_EXAMPLE_ENTRIES 10000
#define DATA_EXAMPLE_DEPTH 8

typedef struct DataSlot {
  guint64 nid;
  guint64 last_use; /* by the set's clock; 0: empty */
  int fd;
  guint borrowers; /* not evicted while there are any */
  struct DataSet *set;
} DataSlot;

typedef struct DataSet {
  GMutex lock; /* guards all of the set, never held over a system call that may block */
  guint64 clock;
  DataSlot slots[DATA_WAYS];
} DataSet;

struct Data {
  GArray *directories; /* of int */
  DataSet sets[DATA_SETS];
};

/* The directory itself, or where we may, a mount of our own of it on which no device can be opened
 * and no access time is written. */
static int
data_open_directory(const char *path, GError **error)
{
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV |
                                              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME,
                                  .attr_clr = MOUNT_ATTR__ATIME};
  autofd int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0) {
    util_error_errno(error, "open the data directory %s", path);
    return -1;
  }
  autofd int clone = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (clone >= 0 && mount_setattr(clone, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0)
    return util_steal_fd(&clone);
  return util_steal_fd(&fd);
}

Data *
data_open(const char *const *paths, GError **error)
{
  g_autoptr(Data) data = g_new0(Data, 1);

  data->directories = g_array_new(FALSE, FALSE, sizeof(int));
  for (gsize i = 0; i < DATA_SETS; i++)
    for (gsize j = 0; j < DATA_WAYS; j++)
      data->sets[i].slots[j] = (DataSlot){.fd = -1, .set = &data->sets[i]};
  for (; *paths; paths++) {
    int fd = data_open_directory(*paths, error);
    if (fd < 0)
      return NULL;
    g_array_append_val(data->directories, fd);
  }
  return g_steal_pointer(&data);
}

void
data_close(Data *data)
{
  if (!data)
    return;
  for (gsize i = 0; i < DATA_SETS; i++)
    for (gsize j = 0; j < DATA_WAYS; j++)
      util_close_fd(&data->sets[i].slots[j].fd);
  for (guint i = 0; i < data->directories->len; i++)
    util_close_fd(&g_array_index(data->directories, int, i));
  g_array_unref(data->directories);
  g_free(data);
}

/* Looks through @dir, at *left entries at most. */
static int
data_find_example(int dir, guint depth, guint *left)
{
  DIR *stream = fdopendir(dir);
  const struct dirent *entry;
  int found = -1;

  if (!stream) {
    close(dir);
    return -1;
  }
  while (found < 0 && *left > 0 && (entry = readdir(stream)) != NULL) {
    int flags = entry->d_type == DT_REG ? O_RDONLY | O_NONBLOCK : O_RDONLY | O_DIRECTORY;

    *left -= 1;
    if ((entry->d_type != DT_REG && (entry->d_type != DT_DIR || depth == 0)) ||
        strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    int fd = openat(dirfd(stream), entry->d_name, flags | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
      found = entry->d_type == DT_REG ? fd : data_find_example(fd, depth - 1, left);
  }
  closedir(stream);
  return found;
}

int
data_open_example(const Data *data)
{
  guint left = DATA_EXAMPLE_ENTRIES;
  int dir =
      openat(g_array_index(data->directories, int, 0), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  return dir < 0 ? -1 : data_find_example(dir, DATA_EXAMPLE_DEPTH, &left);
}

/* Opens @path beneath the first directory that has it. */
static int
data_open_path(const Data *data, const char *path)
{
  int error = ENOENT;

  for (guint i = 0; i < data->directories->len; i++) {
    /* O_NONBLOCK: nothing hangs on a FIFO before it is seen to be one. */
    int fd = util_openat2(g_array_index(data->directories, int, i), path,
                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0,
                          RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    if (fd >= 0)
      return fd;
    error = errno;
    if (error != ENOENT && error != ENOTDIR)
      break;
  }
  return -error;
}

static int
data_open_content(const Data *data, const Index *index, guint64 nid, guint64 size)
{
  char redirect[PATH_MAX];
  struct stat st;
  int error = index_redirect(index, nid, redirect, sizeof redirect);

  if (error < 0)
    return error == -ENODATA ? error : -EIO;
  autofd int fd = data_open_path(data, redirect + strspn(redirect, "/"));
  if (fd < 0)
    return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : -EIO;
  if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (guint64)st.st_size != size)
    return -EIO;
  return util_steal_fd(&fd);
}

static DataSet *
data_find_set(Data *data, guint64 nid)
{
  /* Fibonacci hashing: neighbours in the index are spread over the sets. */
  return &data->sets[(nid * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) >> 32 & (DATA_SETS - 1)];
}

/* Lends the slot that holds @nid, or NULL. The set is locked. */
static DataSlot *
data_lend(DataSet *set, guint64 nid)
{
  for (gsize i = 0; i < DATA_WAYS; i++) {
    DataSlot *slot = &set->slots[i];
    if (slot->last_use && slot->nid == nid) {
      slot->last_use = ++set->clock;
      slot->borrowers++;
      return slot;
    }
  }
  return NULL;
}

/* Puts @fd into the longest unused slot that nobody borrows and lends it; NULL when there is none.
 * The set is locked; *ret_evicted is to be closed after that. */
static DataSlot *
data_put(DataSet *set, guint64 nid, int fd, int *ret_evicted)
{
  DataSlot *oldest = NULL;

  for (gsize i = 0; i < DATA_WAYS; i++) {
    DataSlot *slot = &set->slots[i];
    if (slot->borrowers == 0 && (!oldest || slot->last_use < oldest->last_use))
      oldest = slot;
  }
  if (!oldest)
    return NULL;
  *ret_evicted = oldest->fd;
  oldest->fd = fd;
  oldest->nid = nid;
  oldest->last_use = ++set->clock;
  oldest->borrowers = 1;
  return oldest;
}

gboolean
data_borrow_open(Data *data, guint64 nid, DataLoan *ret_loan)
{
  DataSet *set = data_find_set(data, nid);

  g_mutex_lock(&set->lock);
  DataSlot *slot = data_lend(set, nid);
  g_mutex_unlock(&set->lock);
  if (slot)
    *ret_loan = (DataLoan){.fd = slot->fd, .slot = slot};
  return slot != NULL;
}

int
data_borrow(Data *data, const Index *index, guint64 nid, guint64 size, DataLoan *ret_loan)
{
  DataSet *set = data_find_set(data, nid);
  autofd int surplus = -1;

  if (data_borrow_open(data, nid, ret_loan))
    return 0;
  int fd = data_open_content(data, index, nid, size);
  if (fd < 0)
    return fd;
  g_mutex_lock(&set->lock);
  /* Another thread may have been as quick. */
  DataSlot *slot = data_lend(set, nid);
  if (slot)
    surplus = fd;
  else
    slot = data_put(set, nid, fd, &surplus);
  g_mutex_unlock(&set->lock);
  *ret_loan = (DataLoan){.fd = slot ? slot->fd : fd, .slot = slot};
  return 0;
}

void
data_return(DataLoan *loan)
{
  if (!loan->slot) {
    util_close_fd(&loan->fd);
    return;
  }
  DataSet *set = loan->slot->set;
  g_mutex_lock(&set->lock);
  loan->slot->borrowers--;
  g_mutex_unlock(&set->lock);
  loan->slot = NULL;
  loan->fd = -1;
}
