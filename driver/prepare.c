/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "prepare.h"

#include <sys/file.h>
#include <sys/utsname.h>

#include "background.h"
#include "mountapi.h"
#include "overlaydir.h"
#include "settings.h"
#include "util.h"

#define PREPARE_TRIAL "trial"

typedef struct {
  const Backend *backend;
  const MountPlan *plan;
  char *question; /* whether the mode works here */
  int verdict;
  int index_fd;
} Preparation;

static char *
prepare_question(const Backend *backend)
{
  struct utsname name;

  if (uname(&name) < 0)
    return NULL;
  return g_strdup_printf("mode %s\n%s %s\n", backend->mode, name.release, name.version);
}

/* Mounts in a directory of the cache, one process at a time; what a killed one left goes first. 1
 * or 0; -1 where that says nothing about the kernel. */
static int
prepare_try_out(const Backend *backend)
{
  const Settings *settings = settings_get(NULL);
  g_autoptr(GError) error = NULL;
  const char *way;

  if (!settings)
    return -1;
  g_autofree char *trial = g_build_filename(settings->cache, PREPARE_TRIAL, NULL);
  autofd int fd = open(settings->cache, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || flock(fd, LOCK_EX) < 0 || !util_remove_tree(fd, PREPARE_TRIAL, NULL) ||
      mkdirat(fd, PREPARE_TRIAL, 0700) < 0)
    return -1;
  gboolean works = backend_probe(backend, trial, &way, &error);
  util_remove_tree(fd, PREPARE_TRIAL, NULL);
  return works ? 1 : g_error_matches(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED) ? 0 : -1;
}

/* What another version has left is of no use to this one, and nobody else comes by. */
static void
prepare_remove_old(const MountPlan *plan)
{
  g_autofree char *parent = g_path_get_dirname(plan->overlaydir);
  g_autoptr(GPtrArray) old = overlaydir_list_old(parent, plan->data[0]);

  for (guint i = 0; i < old->len; i++)
    overlaydir_remove_old(old->pdata[i], plan->data[0], NULL);
}

static void
prepare_work(gpointer data)
{
  const Preparation *it = data;
  g_autoptr(GError) error = NULL;
  /* The one that we were started with is closed. */
  g_autoptr(Cache) cache = cache_open(NULL);
  int verdict = it->verdict;

  prepare_remove_old(it->plan);
  if (verdict < 0) {
    verdict = prepare_try_out(it->backend);
    if (cache && verdict >= 0)
      cache_set_verdict(cache, it->question, verdict);
  }
  if (verdict > 0 && !it->backend->prepare(it->plan, it->index_fd, FALSE, &error) &&
      g_error_matches(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED))
    overlaydir_give_up(it->plan->overlaydir, error->message);
}

gboolean
prepare_is_wanted(const Backend *backend, const MountPlan *plan)
{
  return plan->overlaydir && !mountapi_is_disabled(backend->mode) &&
         overlaydir_is_wanted(plan->overlaydir);
}

void
prepare_later(const Backend *backend, const MountPlan *plan, int index_fd, Cache *cache)
{
  g_autofree char *question = prepare_question(backend);

  if (!question)
    return;
  Preparation it = {backend, plan, question, cache_get_verdict(cache, question), index_fd};
  if (it.verdict != 0)
    background_run(prepare_work, &it, index_fd);
}
