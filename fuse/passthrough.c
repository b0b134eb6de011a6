/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "passthrough.h"

#include <string.h>
#include <sys/mman.h>

#include "util.h"

/* Files that stay registered without being open, as they may be opened again soon. Each holds an
 * inode of the store in the kernel's memory (1 KiB or so). */
#define PASSTHROUGH_MAX_IDLE 1024
/* A power of two. */
#define PASSTHROUGH_BUCKETS 16384
#define PASSTHROUGH_NONE G_MAXUINT32

typedef struct {
  guint64 node; /* node ID + 1, written last; 0: free */
  gint32 id;
  guint32 opened; /* open files; 0: idle */
} PassthroughEntry;

/* Outlives servers. */
typedef struct {
  guint32 used; /* entries from here on were never used */
  PassthroughEntry entries[PASSTHROUGH_MAX_FILES];
} PassthroughTable;

struct Passthrough {
  const Channel *channel;
  PassthroughTable *table;
  /* One server's own, made anew by the next. */
  GMutex lock; /* guards all, and the table; not held over system calls */
  guint32 buckets[PASSTHROUGH_BUCKETS];
  guint32 next[PASSTHROUGH_MAX_FILES];  /* in the bucket, or of the free entries */
  guint8 recent[PASSTHROUGH_MAX_FILES]; /* opened since the hand came by */
  guint32 first_free;
  guint32 n_idle, hand;
};

Passthrough *
passthrough_new(const Channel *channel, GError **error)
{
  Passthrough *passthrough = g_new0(Passthrough, 1);
  void *table = mmap(NULL, sizeof(PassthroughTable), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  passthrough->channel = channel;
  if (table != MAP_FAILED) {
    passthrough->table = table;
    return passthrough;
  }
  util_error_errno(error, "make memory for open files");
  g_free(passthrough);
  return NULL;
}

void
passthrough_free(Passthrough *passthrough)
{
  if (!passthrough)
    return;
  munmap(passthrough->table, sizeof(PassthroughTable));
  g_free(passthrough);
}

static guint32 *
passthrough_bucket(Passthrough *passthrough, guint64 nid)
{
  /* Fibonacci hashing, as in data.c. */
  guint64 hash = (nid * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) >> 32;

  return &passthrough->buckets[hash & (PASSTHROUGH_BUCKETS - 1)];
}

static void
passthrough_link(Passthrough *passthrough, guint32 i)
{
  guint32 *bucket = passthrough_bucket(passthrough, passthrough->table->entries[i].node - 1);

  passthrough->next[i] = *bucket;
  *bucket = i;
}

void
passthrough_start(Passthrough *passthrough)
{
  PassthroughTable *table = passthrough->table;

  memset(passthrough->buckets, 0xff, sizeof passthrough->buckets);
  passthrough->first_free = PASSTHROUGH_NONE;
  passthrough->n_idle = passthrough->hand = 0;
  for (guint32 i = 0; i < table->used; i++) {
    if (table->entries[i].node == 0) {
      passthrough->next[i] = passthrough->first_free;
      passthrough->first_free = i;
      continue;
    }
    passthrough_link(passthrough, i);
    passthrough->n_idle += table->entries[i].opened == 0;
  }
}

static PassthroughEntry *
passthrough_find(Passthrough *passthrough, guint64 nid)
{
  PassthroughEntry *entries = passthrough->table->entries;

  for (guint32 i = *passthrough_bucket(passthrough, nid); i != PASSTHROUGH_NONE;
       i = passthrough->next[i])
    if (entries[i].node == nid + 1)
      return &entries[i];
  return NULL;
}

/* Frees entry @i and returns the number that is to be taken back, once it is in no entry. */
static int
passthrough_forget(Passthrough *passthrough, guint32 i)
{
  PassthroughEntry *entry = &passthrough->table->entries[i];
  guint32 *at = passthrough_bucket(passthrough, entry->node - 1);

  while (*at != i)
    at = &passthrough->next[*at];
  *at = passthrough->next[i];
  __atomic_store_n(&entry->node, 0, __ATOMIC_SEQ_CST);
  passthrough->next[i] = passthrough->first_free;
  passthrough->first_free = i;
  passthrough->n_idle--;
  return entry->id;
}

/* Forgets the idle file that was not opened for longest, roughly; 0: there is none. */
static int
passthrough_evict(Passthrough *passthrough)
{
  const PassthroughTable *table = passthrough->table;

  for (guint32 left = 2 * table->used; passthrough->n_idle > 0 && left > 0; left--) {
    guint32 i = passthrough->hand++ % table->used;
    if (table->entries[i].node == 0 || table->entries[i].opened > 0)
      continue;
    if (!passthrough->recent[i])
      return passthrough_forget(passthrough, i);
    passthrough->recent[i] = 0;
  }
  return 0;
}

/* Counts an open file of the entry of @nid and returns its number; 0 when there is none. */
static int
passthrough_count(Passthrough *passthrough, guint64 nid)
{
  PassthroughEntry *entry = passthrough_find(passthrough, nid);

  if (!entry)
    return 0;
  passthrough->n_idle -= entry->opened == 0;
  __atomic_store_n(&entry->opened, entry->opened + 1, __ATOMIC_SEQ_CST);
  passthrough->recent[entry - passthrough->table->entries] = 1;
  return entry->id;
}

/* Enters @nid, once open. FALSE when there is no room. *ret_evicted is to be taken back. */
static gboolean
passthrough_enter(Passthrough *passthrough, guint64 nid, int id, int *ret_evicted)
{
  PassthroughTable *table = passthrough->table;

  if (passthrough->first_free == PASSTHROUGH_NONE && table->used == PASSTHROUGH_MAX_FILES)
    *ret_evicted = passthrough_evict(passthrough);
  guint32 i = passthrough->first_free;
  if (i != PASSTHROUGH_NONE)
    passthrough->first_free = passthrough->next[i];
  else if (table->used < PASSTHROUGH_MAX_FILES)
    i = table->used;
  else
    return FALSE;
  table->entries[i] = (PassthroughEntry){.id = id, .opened = 1};
  /* From here on the next server finds it. */
  __atomic_store_n(&table->entries[i].node, nid + 1, __ATOMIC_SEQ_CST);
  if (i == table->used)
    __atomic_store_n(&table->used, i + 1, __ATOMIC_SEQ_CST);
  passthrough->recent[i] = 1;
  passthrough_link(passthrough, i);
  return TRUE;
}

/* Registers the content of @nid; 0 where the kernel will never have it. */
static int
passthrough_register(const Passthrough *passthrough, const Index *index, Data *data, guint64 nid)
{
  IndexStat st;
  DataLoan loan;
  int error = index_stat(index, nid, &st);

  if (error == 0 && !S_ISREG(st.mode))
    error = -EINVAL;
  if (error == 0 && st.size == 0)
    return 0;
  if (error == 0)
    error = data_borrow(data, index, nid, st.size, &loan);
  if (error < 0)
    return error == -ENODATA ? 0 : error;
  int id = channel_register(passthrough->channel, loan.fd);
  data_return(&loan);
  /* The answer for this file must always be the same. */
  return id == -ELOOP || id == -EPERM ? 0 : id;
}

int
passthrough_open(Passthrough *passthrough, const Index *index, Data *data, guint64 nid)
{
  int surplus = 0;

  g_mutex_lock(&passthrough->lock);
  int id = passthrough_count(passthrough, nid);
  g_mutex_unlock(&passthrough->lock);
  if (id > 0)
    return id;
  int own = passthrough_register(passthrough, index, data, nid);
  if (own <= 0)
    return own;
  g_mutex_lock(&passthrough->lock);
  /* Another thread may have been as quick. */
  id = passthrough_count(passthrough, nid);
  if (id > 0)
    surplus = own;
  else if (passthrough_enter(passthrough, nid, own, &surplus))
    id = own;
  else
    id = -ENFILE;
  g_mutex_unlock(&passthrough->lock);
  if (surplus > 0)
    channel_unregister(passthrough->channel, surplus);
  if (id < 0)
    channel_unregister(passthrough->channel, own);
  return id;
}

void
passthrough_close(Passthrough *passthrough, guint64 nid)
{
  int idle = 0;

  g_mutex_lock(&passthrough->lock);
  PassthroughEntry *entry = passthrough_find(passthrough, nid);
  if (entry && entry->opened > 0) {
    __atomic_store_n(&entry->opened, entry->opened - 1, __ATOMIC_SEQ_CST);
    passthrough->n_idle += entry->opened == 0;
    if (passthrough->n_idle > PASSTHROUGH_MAX_IDLE)
      idle = passthrough_evict(passthrough);
  }
  g_mutex_unlock(&passthrough->lock);
  if (idle > 0)
    channel_unregister(passthrough->channel, idle);
}

gboolean
passthrough_try(const Channel *channel, const Data *data, GError **error)
{
  if (!channel->can_pass)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "the kernel does not offer it (Linux 6.9 does)");
  autofd int fd = data_open_example(data);
  if (fd < 0)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "there is no file to try it with");
  int id = channel_register(channel, fd);
  if (id > 0) {
    channel_unregister(channel, id);
    return TRUE;
  }
  if (id == -ELOOP)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "the files are on a stacked filesystem, as overlayfs");
  if (id == -EPERM)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, PASSTHROUGH_NEEDS_ROOT);
  return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "register a file with the kernel: %s",
                    g_strerror(-id));
}
