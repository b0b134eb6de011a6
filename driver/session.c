/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "session.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "adopt.h"
#include "backend.h"
#include "cache.h"
#include "index.h"
#include "mounted.h"
#include "mountapi.h"
#include "overlaydir.h"
#include "prepare.h"
#include "settings.h"
#include "stack.h"
#include "store.h"
#include "trust.h"
#include "upper.h"
#include "util.h"

typedef struct {
  MountOptions *options;
  Stack *stack;
  Cache *cache;     /* NULL until it is needed */
  GArray *facts;    /* of PlanFacts, one a layer */
  GPtrArray *texts; /* what the facts point to */
  int upper_lock;   /* -1: read-only */
  int target_fd;
  const char *target;
} Session;

static void
session_clear(Session *session)
{
  g_clear_pointer(&session->options, options_free);
  g_clear_pointer(&session->stack, stack_free);
  g_clear_pointer(&session->cache, cache_close);
  g_clear_pointer(&session->facts, g_array_unref);
  g_clear_pointer(&session->texts, g_ptr_array_unref);
  util_close_fd(&session->target_fd);
  util_close_fd(&session->upper_lock);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Session, session_clear)

static Cache *
session_get_cache(Session *session, GError **error)
{
  if (!session->cache)
    session->cache = cache_open(error);
  return session->cache;
}

static StackLayer *
session_layer(const Session *session, guint i)
{
  return session->stack->layers->pdata[i];
}

static const char *
session_keep(Session *session, char *text)
{
  g_ptr_array_add(session->texts, text);
  return text;
}

/* Fetches a path that the store lacks, if that is wanted, and looks at it again. A path that turns
 * out to be another than the reference says is left to the garbage collector. What is kept of it
 * here, verdict and index, is to outlive a power failure no more than its files do. */
static gboolean
session_fetch_reference(Session *session, const Reference *reference, const char *link,
                        GError **error)
{
  if (!store_substitute(reference->store_path, link, error))
    return FALSE;
  if (store_flush(reference->store_path, error) &&
      trust_check_reference(session->cache, reference, error))
    return TRUE;
  store_remove_root(link);
  return FALSE;
}

/* A reference is followed only if it is trusted, and its path is kept from the garbage collector
 * before its files are used. */
static gboolean
session_follow_reference(Session *session, const StackLayer *layer, GError **error)
{
  g_autofree char *link = g_build_filename(layer->home, layer->id, SESSION_GC_LINK, NULL);

  const Settings *settings = settings_get(error);
  g_autoptr(GError) local = NULL;
  if (!settings || !session_get_cache(session, error))
    return FALSE;
  if (trust_check_reference(session->cache, layer->reference, &local))
    return store_add_root(layer->reference->store_path, link, error);
  if (g_error_matches(local, NIXSTORE_ERROR, NIXSTORE_ERROR_NOT_FOUND) &&
      strcmp(settings->substitute, "true") == 0)
    return session_fetch_reference(session, layer->reference, link, error);
  g_propagate_error(error, g_steal_pointer(&local));
  return FALSE;
}

/* What @layer is, apart from where: the same text as long as its content is the same. Layers are
 * never changed once others stand on them. */
static char *
session_identify_layer(const StackLayer *layer)
{
  struct stat st;

  if (layer->reference)
    return g_strdup_printf("reference %s %s %s", layer->reference->store_path,
                           layer->reference->manifest_digest, layer->reference->nar_hash);
  if (fstat(layer->fd, &st) < 0)
    memset(&st, 0, sizeof st);
  return g_strdup_printf("layer %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GINT64_FORMAT
                         ".%09ld",
                         layer->path, (guint64)st.st_dev, (guint64)st.st_ino,
                         (gint64)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static gboolean
session_find_whiteouts(Session *session, const StackLayer *layer, gboolean *ret_found,
                       GError **error)
{
  g_autofree char *identity = session_identify_layer(layer);
  g_autofree char *question = g_strconcat("whiteouts\n", identity, "\n", NULL);
  /* Ordinary images run without a cache too: the layers are then read each time. */
  Cache *cache = layer->is_mutable ? NULL : session_get_cache(session, NULL);
  int known = cache ? cache_get_verdict(cache, question) : -1;

  if (known >= 0) {
    *ret_found = known;
    return TRUE;
  }
  if (!stack_layer_find_whiteouts(layer, ret_found, error))
    return FALSE;
  if (cache)
    cache_set_verdict(cache, question, *ret_found);
  return TRUE;
}

static gboolean
session_learn_layer(Session *session, StackLayer *layer, gboolean is_below_reference,
                    GError **error)
{
  PlanFacts facts = {.path = layer->path, .container = layer->home};

  if (layer->reference) {
    if (!session_follow_reference(session, layer, error))
      return FALSE;
    facts.rootfs =
        session_keep(session, g_build_filename(layer->reference->store_path, "rootfs", NULL));
    facts.container = store_directory();
  } else {
    /* Idmapped mounts are for whoever is root of the filesystem's own user namespace. */
    facts.is_unmappable = layer->home && session->options->uids &&
                          (!settings_process_is_root() || mountapi_is_disabled("idmapped-mounts"));
    if ((is_below_reference || !layer->home || facts.is_unmappable) &&
        !stack_layer_is_empty(layer, &facts.is_empty, error))
      return FALSE;
    if (layer->home && !facts.is_empty &&
        !session_find_whiteouts(session, layer, &facts.has_whiteouts, error))
      return FALSE;
  }
  g_array_append_val(session->facts, facts);
  return TRUE;
}

static gboolean
session_learn(Session *session, GError **error)
{
  gboolean below_reference = FALSE;

  for (guint i = 0; i < session->stack->layers->len; i++) {
    StackLayer *layer = session_layer(session, i);
    if (!session_learn_layer(session, layer, below_reference, error))
      return FALSE;
    below_reference = below_reference || layer->reference;
  }
  return TRUE;
}

typedef struct {
  const Session *session;
  GPtrArray *prefixes; /* owned, with their texts */
} SessionMerge;

/* Where the data-only layers, a home or the store, hold the content of layer @layer. */
static char *
session_layer_prefix(const StackLayer *layer)
{
  if (layer->reference)
    return g_strconcat(layer->reference->store_path + strlen(store_directory()), "/rootfs", NULL);
  return g_strdup(layer->path + strlen(layer->home));
}

static Tree *
session_build_merged(gpointer data, const char *const **ret_prefixes, GError **error)
{
  SessionMerge *merge = data;
  g_autoptr(Tree) tree = stack_merge(merge->session->stack, error);

  if (!tree)
    return NULL;
  for (guint i = 0; i < merge->session->stack->layers->len; i++) {
    const StackLayer *layer = session_layer(merge->session, i);
    g_ptr_array_add(merge->prefixes, layer->home ? session_layer_prefix(layer) : g_strdup("/"));
  }
  g_ptr_array_add(merge->prefixes, NULL);
  *ret_prefixes = (const char *const *)merge->prefixes->pdata;
  return g_steal_pointer(&tree);
}

/* What the merged index hangs on; NULL where a layer may still change. */
static char *
session_merged_text(const Session *session)
{
  g_autoptr(GString) text = g_string_new("merged\n");

  for (guint i = 0; i < session->stack->layers->len; i++) {
    const StackLayer *layer = session_layer(session, i);
    if (layer->is_mutable)
      return NULL;
    g_autofree char *identity = session_identify_layer(layer);
    g_string_append_printf(text, "%s\n", identity);
  }
  g_string_append_printf(text, "format %d, merge %d\n", INDEX_FORMAT_VERSION, STACK_MERGE_VERSION);
  return g_string_free(g_steal_pointer(&text), FALSE);
}

static int
session_open_index(Session *session, const MountPlan *plan, GError **error)
{
  if (!session_get_cache(session, error))
    return -1;
  if (plan->index == PLAN_INDEX_REFERENCE)
    return cache_open_reference_index(session->cache,
                                      session_layer(session, plan->reference)->reference, error);
  g_autoptr(GPtrArray) prefixes = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *text = session_merged_text(session);
  SessionMerge merge = {session, prefixes};
  int fd = cache_open_index(session->cache, text, session_build_merged, &merge, error);
  if (fd < 0)
    g_prefix_error(error, "merge the layers: ");
  return fd;
}

/* Where the image's directory of mode overlaydir is: with the reference's layer, so that it goes
 * when the image goes. */
static void
session_place_overlaydir(const Session *session, MountPlan *plan)
{
  const StackLayer *layer =
      plan->index == PLAN_INDEX_REFERENCE ? session_layer(session, plan->reference) : NULL;

  if (!layer || settings_process_is_root())
    return;
  g_autofree char *identity = session_identify_layer(layer);
  g_autofree char *key = overlaydir_key(identity, plan->uids, plan->gids);
  g_autofree char *parent = g_path_get_dirname(layer->home);
  plan->overlaydir = g_build_filename(layer->home, layer->id, OVERLAYDIR_NAME, key, NULL);
  plan->overlaydir_aside = g_build_filename(parent, OVERLAYDIR_ASIDE, NULL);
}

static MountPlan *
session_plan(const Session *session, gboolean use_index, GError **error)
{
  MountPlan *plan = plan_new(session->options, (PlanFacts *)session->facts->data,
                             session->facts->len, use_index, session->target, error);

  if (!plan)
    return NULL;
  session_place_overlaydir(session, plan);
  plan->source = mounted_describe(plan, session->stack);
  return plan;
}

/* Notes in the layer's directory which index is shown; with @index_fd -1 that none is. Failure is
 * no error: the directory may be another store's, which is read-only. */
static void
session_note_index(const StackLayer *layer, int index_fd)
{
  g_autofree char *link = g_build_filename(layer->home, layer->id, SESSION_INDEX_LINK, NULL);
  g_autofree char *noted = g_file_read_link(link, NULL);
  g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", index_fd);
  g_autofree char *path = index_fd < 0 ? NULL : g_file_read_link(name, NULL);

  if (g_strcmp0(noted, path) == 0)
    return;
  if (unlink(link) == 0 || errno == ENOENT)
    (void)(path ? symlink(path, link) : 0);
}

static void
session_note_no_index(const Session *session)
{
  for (guint i = 0; i < session->stack->layers->len; i++)
    if (session_layer(session, i)->reference)
      session_note_index(session_layer(session, i), -1);
}

/* What all modes start from: an upper that is as the image has its root, and in *ret_index_fd the
 * plan's index, if it needs one. */
static gboolean
session_make_ready(Session *session, const MountPlan *plan, int *ret_index_fd, GError **error)
{
  gboolean fresh = upper_is_fresh(plan);

  if (fresh && !upper_translate_whiteouts(plan, error))
    return FALSE;
  if (plan->index == PLAN_INDEX_NONE) {
    session_note_no_index(session);
    return TRUE;
  }
  autofd int index_fd = session_open_index(session, plan, error);
  if (index_fd < 0)
    return FALSE;
  const StackLayer *layer =
      plan->index == PLAN_INDEX_REFERENCE ? session_layer(session, plan->reference) : NULL;
  if (fresh && !adopt_root(plan, index_fd, layer ? layer->fd : -1, error))
    return FALSE;
  if (layer)
    session_note_index(layer, index_fd);
  *ret_index_fd = util_steal_fd(&index_fd);
  return TRUE;
}

static void
session_add_reason(GString *reasons, const Backend *backend, const GError *error)
{
  g_string_append(reasons, reasons->len ? "; " : "");
  if (!g_str_has_prefix(error->message, "mode "))
    g_string_append_printf(reasons, "mode %s: ", backend->mode);
  g_string_append(reasons, error->message);
}

/* By the best of the modes that work here: what this kernel cannot do is passed over. Where none
 * does, one of those that were tried is what somebody can do something about. */
static gboolean
session_mount_best(Session *session, const MountPlan *plan, int index_fd, GError **error)
{
  gsize count;
  const Backend *rows = backend_list(&count), *better = NULL;
  g_autoptr(GString) tried = g_string_new(NULL);
  g_autoptr(GString) refused = g_string_new(NULL);

  for (gsize i = 0; i < count; i++) {
    g_autoptr(GError) local = NULL;
    if (!rows[i].is_faithful)
      continue;
    gboolean is_for_us = backend_check(&rows[i], plan, &local);
    if (is_for_us && backend_mount(&rows[i], plan, index_fd, session->target_fd, &local)) {
      if (better && prepare_is_wanted(better, plan))
        prepare_later(better, plan, index_fd, session->cache);
      return TRUE;
    }
    if (plan->index == PLAN_INDEX_NONE || /* no mode makes a difference to that */
        !g_error_matches(local, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED)) {
      g_propagate_error(error, g_steal_pointer(&local));
      return FALSE;
    }
    session_add_reason(is_for_us ? tried : refused, &rows[i], local);
    if (rows[i].prepare)
      better = &rows[i];
  }
  return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s", (tried->len ? tried : refused)->str);
}

/* @backend NULL: mode auto. */
static gboolean
session_carry_out(Session *session, const Backend *backend, GError **error)
{
  autofd int index_fd = -1;
  gboolean done = FALSE;
  g_autoptr(MountPlan) plan = session_plan(session, !backend || backend->uses_index, error);

  if (!plan || !mounted_clone(plan, session->target_fd, &done, error))
    return FALSE;
  if (done)
    return TRUE;
  if ((backend && !backend_check(backend, plan, error)) ||
      !session_make_ready(session, plan, &index_fd, error))
    return FALSE;
  if (!backend)
    return session_mount_best(session, plan, index_fd, error);
  return (!backend->prepare || backend->prepare(plan, index_fd, TRUE, error)) &&
         backend_mount(backend, plan, index_fd, session->target_fd, error);
}

/* Each layer is open up to three times, and to merge one each level of its directories: more
 * descriptors than a process usually may have. */
static void
session_raise_limit(void)
{
  struct rlimit limit;

  if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static gboolean
session_open(Session *session, const char *option_string, const char *target, GError **error)
{
  session->target = target;
  session->facts = g_array_new(FALSE, FALSE, sizeof(PlanFacts));
  session->texts = g_ptr_array_new_with_free_func(g_free);
  session->options = options_parse(option_string, error);
  if (!session->options)
    return FALSE;
  session_raise_limit();
  if (session->options->upper) {
    session->upper_lock = upper_lock(session->options->upper, error);
    if (session->upper_lock < 0)
      return FALSE;
  }
  /* Under the lock: it is to be what another has just mounted there. */
  session->target_fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (session->target_fd < 0)
    return util_error_errno(error, "open the mount point %s", target);
  session->stack = stack_open((const char *const *)session->options->lowers,
                              session->options->upper != NULL, error);
  return session->stack != NULL && session_learn(session, error);
}

gboolean
session_mount(const char *option_string, const char *mode, const char *target, GError **error)
{
  g_auto(Session) session = {.upper_lock = -1, .target_fd = -1};
  const Backend *backend = NULL;

  if (strcmp(mode, "auto") != 0) {
    backend = backend_find(mode, error);
    if (!backend)
      return FALSE;
  }
  if (geteuid() != 0)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "mounting needs root, or a user namespace as of `podman unshare'");
  if (!session_open(&session, option_string, target, error))
    return FALSE;
  return session_carry_out(&session, backend, error);
}
