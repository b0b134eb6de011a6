/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "mounted.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "idmap.h"
#include "mountapi.h"
#include "util.h"

#define MOUNTED_SOURCE "nixstore"
/* Hexadecimal digits of the digest that stand in a mount's source. */
#define MOUNTED_DIGEST_SIZE 32

static void
mounted_append_directory(GString *text, const char *path)
{
  struct stat st;

  /* Another directory under the same path is another stack. */
  if (stat(path, &st) < 0)
    memset(&st, 0, sizeof st);
  g_string_append_printf(text, "%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", path,
                         (guint64)st.st_dev, (guint64)st.st_ino);
}

static void
mounted_append_ranges(GString *text, const GArray *ranges)
{
  for (guint i = 0; ranges && i < ranges->len; i++) {
    const IdRange *range = &g_array_index(ranges, IdRange, i);
    g_string_append_printf(text, "%u:%u:%u\n", range->container, range->host, range->size);
  }
}

char *
mounted_describe(const MountPlan *plan, const Stack *stack)
{
  g_autoptr(GString) text = g_string_new(NULL);

  if (plan->upper) {
    mounted_append_directory(text, plan->upper);
  } else {
    for (guint i = 0; i < stack->layers->len; i++)
      mounted_append_directory(text, ((StackLayer *)stack->layers->pdata[i])->path);
    mounted_append_ranges(text, plan->uids);
    mounted_append_ranges(text, plan->gids);
  }
  g_autofree char *digest = util_sha256_hex(text->str, text->len);
  return g_strdup_printf(MOUNTED_SOURCE ":%.*s", MOUNTED_DIGEST_SIZE, digest);
}

/* The mount source field of the mountinfo line @line (proc_pid_mountinfo(5)), whose first field is
 * to be @id. */
static char *
mounted_parse_line(const char *line, guint64 id)
{
  char *end;

  if (g_ascii_strtoull(line, &end, 10) != id || *end != ' ')
    return NULL;
  const char *rest = strstr(line, " - ");
  if (!rest)
    return NULL;
  g_auto(GStrv) fields = g_strsplit(rest + 3, " ", 3);
  return fields[0] && fields[1] ? g_strdup(fields[1]) : NULL;
}

/* The source of the mount with the number @id, NULL when it cannot be told. */
static char *
mounted_find_source(guint64 id)
{
  FILE *file = fopen("/proc/self/mountinfo", "re");
  char *line = NULL, *source = NULL;
  size_t size = 0;

  while (file && !source && getline(&line, &size, file) > 0)
    source = mounted_parse_line(line, id);
  free(line);
  if (file)
    fclose(file);
  return source;
}

/* Whether the directory bound on the target is the one that the plan would bind. */
static gboolean
mounted_is_bound(const MountPlan *plan, int target_fd)
{
  struct stat target, lower;

  return fstat(target_fd, &target) == 0 && stat(plan->lowers[0], &lower) == 0 &&
         target.st_dev == lower.st_dev && target.st_ino == lower.st_ino;
}

gboolean
mounted_clone(const MountPlan *plan, int target_fd, gboolean *ret_done, GError **error)
{
  struct statx stx;

  if (statx(target_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
    return util_error_errno(error, "look at the mount point %s", plan->target);
  /* Kernels before 5.8 tell neither: a mount on top is all that can be done. */
  if (!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) || !(stx.stx_mask & STATX_MNT_ID))
    return TRUE;
  if (plan_is_bind(plan)) {
    if (!mounted_is_bound(plan, target_fd))
      return TRUE;
  } else {
    g_autofree char *source = mounted_find_source(stx.stx_mnt_id);
    if (g_strcmp0(source, plan->source) != 0)
      return TRUE;
  }
  autofd int clone_fd = mountapi_clone(target_fd, error);
  if (clone_fd < 0 || !mountapi_attach(clone_fd, target_fd, error))
    return FALSE;
  *ret_done = TRUE;
  return TRUE;
}
