/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "index-exercise.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "index-read.h"

#define MAX_INODES 150
#define MAX_ENTRIES 2000
/* The kernel's limit for a value, and some. */
#define VALUE_SIZE 70000

typedef struct {
  const Index *index;
  GArray *queue; /* of nids */
  guint64 dir;
  guint entries, stop_after;
  guint64 next;
  ExerciseResult result;
} Exercise;

static gssize
note(Exercise *e, gssize result)
{
  static const int known[] = {-ENOENT, -ENOTDIR, -ENODATA, -ERANGE, -EINVAL, -EUCLEAN};

  if (result == -EUCLEAN)
    e->result.corrupt++;
  if (result >= 0)
    return result;
  for (guint i = 0; i < G_N_ELEMENTS(known); i++)
    if (result == known[i])
      return result;
  g_error("unexpected result %" G_GSSIZE_FORMAT, result);
}

static gboolean
take_entry(void *data, const char *name, gsize name_size, guint64 nid, unsigned type, guint64 next)
{
  Exercise *e = data;
  guint64 found;

  if (e->stop_after-- == 0)
    return FALSE;
  e->next = next;
  g_assert_cmpuint(name_size, >, 0);
  g_assert_cmpuint(name_size, <=, 255);
  g_assert_null(memchr(name, '\0', name_size));
  g_assert_null(memchr(name, '/', name_size));
  note(e, index_lookup(e->index, e->dir, name, name_size, &found));
  if (e->queue->len < MAX_INODES)
    g_array_append_val(e->queue, nid);
  return ++e->entries < MAX_ENTRIES;
}

static void
exercise_xattrs(Exercise *e, guint64 nid)
{
  static const char *const names[] = {"user.empty",
                                      "security.capability",
                                      "trusted.overlay.opaque",
                                      "system.posix_acl_access",
                                      "odd",
                                      ""};
  static char value[VALUE_SIZE];
  g_autofree char *list = NULL;
  gssize size = note(e, index_listxattr(e->index, nid, NULL, 0)), again;

  for (guint i = 0; i < G_N_ELEMENTS(names); i++)
    note(e, index_getxattr(e->index, nid, names[i], value, sizeof value));
  if (size <= 0)
    return;
  list = g_malloc((gsize)size);
  again = index_listxattr(e->index, nid, list, (gsize)size);
  g_assert_cmpint(again, ==, size);
  g_assert_cmpint(list[size - 1], ==, '\0');
  for (gssize at = 0; at < size; at += (gssize)strlen(list + at) + 1)
    note(e, index_getxattr(e->index, nid, list + at, value, 3));
}

static void
exercise_inode(Exercise *e, guint64 nid)
{
  char redirect[PATH_MAX];
  const char *target;
  IndexStat st;
  gsize size;

  e->result.inodes++;
  if (note(e, index_stat(e->index, nid, &st)) == 0 && S_ISLNK(st.mode))
    g_assert_cmpuint(st.size, <, PATH_MAX);
  if (note(e, index_readlink(e->index, nid, &target, &size)) == 0)
    g_assert_null(memchr(target, '\0', size));
  if (note(e, index_redirect(e->index, nid, redirect, sizeof redirect)) == 0)
    g_assert_cmpint(redirect[0], ==, '/');
  exercise_xattrs(e, nid);
}

static void
exercise_directory(Exercise *e, guint64 nid)
{
  guint64 found;

  e->dir = nid;
  note(e, index_lookup(e->index, nid, "", 0, &found));
  note(e, index_lookup(e->index, nid, "shadow", 6, &found));
  note(e, index_lookup(e->index, nid, "\xff\xff", 2, &found));
  /* From the start in steps, then from places that were never given. */
  e->next = 0;
  e->stop_after = 3;
  note(e, index_readdir(e->index, nid, 0, take_entry, e));
  e->stop_after = G_MAXUINT;
  note(e, index_readdir(e->index, nid, e->next, take_entry, e));
  for (guint64 offset = 12; offset < 1 << 14; offset = offset * 3 / 12 * 12) {
    e->stop_after = 2;
    note(e, index_readdir(e->index, nid, offset, take_entry, e));
  }
  note(e, index_readdir(e->index, nid, 5, take_entry, e));
  note(e, index_readdir(e->index, nid, G_MAXUINT64 - 15, take_entry, e));
}

ExerciseResult
index_exercise(const guint8 *image, gsize size)
{
  g_autofree guint8 *copy = g_memdup2(image, size);
  Index index = {.map = copy, .size = size};
  Exercise e = {.index = &index};
  guint64 nid;

  if (!index_read_super(&index, NULL))
    return e.result;
  e.result.opened = TRUE;
  e.queue = g_array_new(FALSE, FALSE, sizeof(guint64));
  nid = index_root_nid(&index);
  g_array_append_val(e.queue, nid);
  for (guint i = 0; i < e.queue->len && e.entries < MAX_ENTRIES; i++) {
    nid = g_array_index(e.queue, guint64, i);
    exercise_inode(&e, nid);
    exercise_directory(&e, nid);
  }
  g_array_unref(e.queue);
  return e.result;
}

void
index_exercise_fix_checksum(guint8 *image, gsize size)
{
  guint32 checksum = 0;
  guint8 *super;

  if (size < EROFS_BLOCK_SIZE)
    return;
  super = image + EROFS_SUPER_OFFSET;
  memcpy(super + G_STRUCT_OFFSET(ErofsSuper, checksum), &checksum, sizeof checksum);
  checksum = GUINT32_TO_LE(erofs_crc32c(G_MAXUINT32, super, EROFS_BLOCK_SIZE - EROFS_SUPER_OFFSET));
  memcpy(super + G_STRUCT_OFFSET(ErofsSuper, checksum), &checksum, sizeof checksum);
}
