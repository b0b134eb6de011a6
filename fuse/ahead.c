/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "ahead.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

/* Threads that wait for the disk. */
#define AHEAD_THREADS 2
/* Files that a thread takes at a time. */
#define AHEAD_BATCH 4
/* Directories whose listings are remembered: those on the way down, and their neighbours. */
#define AHEAD_DIRECTORIES 32
/* Files ahead of the reader at most. They stay within data's cache of open files. */
#define AHEAD_MAX_WINDOW 32
/* Entries that are looked through for the file that a reader has come to: from where it was, and,
 * as somebody else's place in the listing, from its start. */
#define AHEAD_NEAR 64
#define AHEAD_FAR 1024
/* Files that a reader may leave out, having them cached, and still read one after another. */
#define AHEAD_MAX_SKIP 4
/* Reads that came as foreseen after which whoever lists a directory is taken for one who reads its
 * files, too, and how many of them are fetched at once. */
#define AHEAD_STREAK 8
#define AHEAD_FIRST 8
/* Listings without a read after which nobody is. */
#define AHEAD_IDLE_LISTINGS 4
/* Of each file; after that the kernel's own read-ahead has begun. */
#define AHEAD_MAX_BYTES (256 * 1024)
/* A power of two. */
#define AHEAD_QUEUE 64

typedef struct {
  guint64 dir, first, last; /* node IDs; last 0: not in use */
  guint64 last_use;         /* by the clock */
  guint64 reader;           /* where the listing goes on after the file that was read last */
  guint64 frontier;         /* where it goes on after the file that was fetched last */
  guint fetched;            /* files from reader to frontier */
  guint window;             /* files to have fetched */
} AheadDirectory;

struct Ahead {
  const Index *index;
  Data *data;
  GMutex lock; /* guards what follows, and is not held while the store's files are touched */
  GCond wanted;
  guint64 clock;
  guint streak;   /* reads that came as foreseen */
  guint listings; /* since then */
  AheadDirectory directories[AHEAD_DIRECTORIES];
  guint64 queue[AHEAD_QUEUE]; /* node IDs */
  guint queue_start, queue_end;
};

static void
ahead_fetch(const Ahead *ahead, guint64 nid)
{
  IndexStat st;
  DataLoan loan;

  if (index_stat(ahead->index, nid, &st) < 0 || !S_ISREG(st.mode) || st.size == 0 ||
      data_borrow(ahead->data, ahead->index, nid, st.size, &loan) < 0)
    return;
  posix_fadvise(loan.fd, 0, (off_t)MIN(st.size, AHEAD_MAX_BYTES), POSIX_FADV_WILLNEED);
  data_return(&loan);
}

/* Waits for files to fetch and takes some. The lock is held. */
static guint
ahead_take(Ahead *ahead, guint64 *nids)
{
  guint count = 0;

  while (ahead->queue_start == ahead->queue_end)
    g_cond_wait(&ahead->wanted, &ahead->lock);
  while (count < AHEAD_BATCH && ahead->queue_start != ahead->queue_end)
    nids[count++] = ahead->queue[ahead->queue_start++ % AHEAD_QUEUE];
  if (ahead->queue_start != ahead->queue_end)
    g_cond_signal(&ahead->wanted);
  return count;
}

static void *
ahead_run(void *data)
{
  Ahead *ahead = data;
  guint64 nids[AHEAD_BATCH];

  for (;;) {
    g_mutex_lock(&ahead->lock);
    guint count = ahead_take(ahead, nids);
    g_mutex_unlock(&ahead->lock);
    for (guint i = 0; i < count; i++)
      ahead_fetch(ahead, nids[i]);
  }
  return NULL;
}

Ahead *
ahead_new(const Index *index, Data *data)
{
  Ahead *ahead = g_new0(Ahead, 1);
  pthread_t thread;
  guint running = 0;

  ahead->index = index;
  ahead->data = data;
  while (running < AHEAD_THREADS && pthread_create(&thread, NULL, ahead_run, ahead) == 0) {
    pthread_detach(thread);
    running++;
  }
  if (running > 0)
    return ahead;
  g_free(ahead);
  return NULL;
}

/* The record of @dir, or the longest unused one. */
static AheadDirectory *
ahead_find_directory(Ahead *ahead, guint64 dir)
{
  AheadDirectory *oldest = ahead->directories;

  for (gsize i = 0; i < AHEAD_DIRECTORIES; i++) {
    AheadDirectory *one = &ahead->directories[i];
    if (one->last && one->dir == dir)
      return one;
    if (one->last_use < oldest->last_use)
      oldest = one;
  }
  *oldest = (AheadDirectory){.dir = dir, .first = G_MAXUINT64};
  return oldest;
}

/* The record of a directory that may hold @nid: of hard links, the index knows one place. */
static AheadDirectory *
ahead_find_file(Ahead *ahead, guint64 nid)
{
  AheadDirectory *found = NULL;

  for (gsize i = 0; i < AHEAD_DIRECTORIES; i++) {
    AheadDirectory *one = &ahead->directories[i];
    if (one->last && nid >= one->first && nid <= one->last &&
        (!found || one->last_use > found->last_use))
      found = one;
  }
  return found;
}

typedef struct {
  guint64 nid;  /* looked for */
  guint left;   /* entries that may still be looked at */
  guint files;  /* regular ones before it */
  guint64 next; /* where the listing goes on after it; 0: not found */
} AheadSearch;

static gboolean
ahead_search(void *data, const char *name, gsize name_size, guint64 nid, unsigned type,
             guint64 next)
{
  AheadSearch *search = data;

  if (search->next || search->left-- == 0)
    return FALSE;
  search->files += type == DT_REG;
  if (nid == search->nid)
    search->next = next;
  return TRUE;
}

typedef struct {
  Ahead *ahead;
  AheadDirectory *directory;
} AheadRefill;

static gboolean
ahead_enqueue(void *data, const char *name, gsize name_size, guint64 nid, unsigned type,
              guint64 next)
{
  AheadRefill *refill = data;
  Ahead *ahead = refill->ahead;
  AheadDirectory *directory = refill->directory;

  if (directory->fetched >= directory->window ||
      ahead->queue_end - ahead->queue_start >= AHEAD_QUEUE)
    return FALSE;
  directory->frontier = next;
  if (type == DT_REG) {
    ahead->queue[ahead->queue_end++ % AHEAD_QUEUE] = nid;
    directory->fetched++;
  }
  return TRUE;
}

/* Moves the reader to behind @nid. TRUE when that was next. */
static gboolean
ahead_advance(const Ahead *ahead, AheadDirectory *directory, guint64 nid)
{
  AheadSearch search = {.nid = nid, .left = AHEAD_NEAR};

  index_readdir(ahead->index, directory->dir, directory->reader, ahead_search, &search);
  if (search.next && search.files <= directory->fetched) {
    directory->fetched -= search.files;
    directory->reader = search.next;
    return TRUE;
  }
  gboolean is_near = search.next && search.files <= 1 + AHEAD_MAX_SKIP;
  if (!search.next) {
    search = (AheadSearch){.nid = nid, .left = AHEAD_FAR};
    index_readdir(ahead->index, directory->dir, 0, ahead_search, &search);
  }
  directory->reader = directory->frontier = search.next;
  directory->fetched = 0;
  return is_near;
}

static void
ahead_refill(Ahead *ahead, AheadDirectory *directory)
{
  AheadRefill refill = {ahead, directory};
  guint queued = ahead->queue_end;

  index_readdir(ahead->index, directory->dir, directory->frontier, ahead_enqueue, &refill);
  if (ahead->queue_end != queued)
    g_cond_signal(&ahead->wanted);
}

void
ahead_note_listing(Ahead *ahead, guint64 dir, guint64 first, guint64 last)
{
  g_mutex_lock(&ahead->lock);
  AheadDirectory *directory = ahead_find_directory(ahead, dir);
  directory->first = MIN(directory->first, first);
  directory->last = MAX(directory->last, last);
  directory->last_use = ++ahead->clock;
  if (++ahead->listings > AHEAD_IDLE_LISTINGS)
    ahead->streak = 0;
  if (ahead->streak >= AHEAD_STREAK && directory->window == 0) {
    directory->window = AHEAD_FIRST;
    directory->reader = directory->frontier = directory->fetched = 0;
    ahead_refill(ahead, directory);
  }
  g_mutex_unlock(&ahead->lock);
}

void
ahead_note_read(Ahead *ahead, guint64 nid)
{
  /* Whoever comes at the same time is of no less use. */
  if (!g_mutex_trylock(&ahead->lock))
    return;
  AheadDirectory *directory = ahead_find_file(ahead, nid);
  if (directory) {
    directory->last_use = ++ahead->clock;
    if (ahead_advance(ahead, directory, nid)) {
      directory->window = CLAMP(directory->window * 2, 2, AHEAD_MAX_WINDOW);
      ahead->streak++;
      ahead->listings = 0;
    } else {
      directory->window = ahead->streak = 0;
    }
    /* Some at a time: each time wakes threads. */
    if (directory->fetched < directory->window && directory->fetched <= directory->window / 2)
      ahead_refill(ahead, directory);
  }
  g_mutex_unlock(&ahead->lock);
}
