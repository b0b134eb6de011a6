/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "child-reads.h"
#include "command.h"
#include "image.h"
#include "json-text.h"
#include "output.h"
#include "progress.h"
#include "references.h"
#include "store.h"
#include "util.h"
#include "verify-tree.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Between two looks at how far Nix has come. */
#define WAIT_USEC (G_USEC_PER_SEC / 10)

static gboolean option_json;

static const GOptionEntry verify_options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

static void
add_problem(GPtrArray *problems, GError **error)
{
  if (*error)
    g_ptr_array_add(problems, g_strdup((*error)->message));
  g_clear_error(error);
}

static void
verify_config(Image *image, GPtrArray *problems)
{
  g_autoptr(GError) error = NULL;
  gsize size;
  g_autofree char *config = image_read_config(image, &size, &error);
  g_autoptr(json_t) document = config ? json_parse(config, size, &error) : NULL;
  if (document && !json_is_object(document))
    util_error(&error, NIXSTORE_ERROR_INVALID, "not a JSON object");
  if (config && error)
    g_prefix_error(&error, "%s: ", IMAGE_CONFIG);
  add_problem(problems, &error);
}

static void
verify_image(const char *store_path, GPtrArray *problems)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Image) image = image_open(store_path, &error);
  if (image)
    verify_config(image, problems);
  g_autoptr(Tree) tree = image ? image_read_manifest(image, &error) : NULL;
  add_problem(problems, &error);
  if (!tree)
    return;
  guint before = problems->len;
  verify_tree(tree, image->rootfs_fd, problems);
  /* What every mount goes by has the last word. */
  if (problems->len > before)
    return;
  tree_free(image_load_tree(image, &error));
  add_problem(problems, &error);
}

/* Nix reads all of the path: meanwhile we look at our part. */
typedef struct {
  const char *store_path;
  GMutex lock; /* of what follows */
  GCond ended_cond;
  gboolean ended;
  pid_t tid; /* of the thread, which starts Nix */
} NarCheck;

static gpointer
nar_thread(gpointer data)
{
  NarCheck *it = data;
  GError *error = NULL;

  g_mutex_lock(&it->lock);
  it->tid = gettid();
  g_mutex_unlock(&it->lock);
  store_verify(it->store_path, &error);
  g_mutex_lock(&it->lock);
  it->ended = TRUE;
  g_cond_signal(&it->ended_cond);
  g_mutex_unlock(&it->lock);
  return error;
}

/* Waits a moment. Returns whether Nix is through; else *ret_tid is whose it is. */
static gboolean
nar_wait(NarCheck *it, pid_t *ret_tid)
{
  gint64 until = g_get_monotonic_time() + WAIT_USEC;

  g_mutex_lock(&it->lock);
  while (!it->ended && g_cond_wait_until(&it->ended_cond, &it->lock, until))
    ;
  gboolean ended = it->ended;
  *ret_tid = it->tid;
  g_mutex_unlock(&it->lock);
  return ended;
}

/* Shows how far Nix has come, which does not say so. */
static void
nar_watch(NarCheck *it)
{
  g_autoptr(Progress) progress = progress_new("verifying");
  guint64 total = 0;
  pid_t tid;

  while (progress_is_shown(progress) && !nar_wait(it, &tid)) {
    if (total == 0)
      store_query_size(it->store_path, &total, NULL);
    guint64 done = child_reads_of_thread(tid);
    progress_set(progress, total > 0 ? MIN(done, total) : done, total);
  }
}

static GPtrArray *
verify_path(char *store_path)
{
  GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
  NarCheck check = {.store_path = store_path};
  g_mutex_init(&check.lock);
  g_cond_init(&check.ended_cond);
  GThread *thread = g_thread_new("nar", nar_thread, &check);
  /* Of a path that is gone, the store's error says it all. */
  if (access(store_path, F_OK) == 0 || errno != ENOENT)
    verify_image(store_path, problems);
  nar_watch(&check);
  g_autoptr(GError) error = g_thread_join(thread);
  g_mutex_clear(&check.lock);
  g_cond_clear(&check.ended_cond);
  add_problem(problems, &error);
  return problems;
}

static void
print_text(const char *name, GPtrArray *problems)
{
  g_autofree char *head = util_escape(name);
  if (problems->len == 0)
    printf("%s: ok\n", head);
  for (guint i = 0; i < problems->len; i++) {
    g_autofree char *line = util_escape(problems->pdata[i]);
    printf("%s: %s\n", head, line);
  }
  fflush(stdout);
}

/* @store_path: NULL where @argument names none. */
static json_t *
json_of(const char *argument, const char *store_path, GPtrArray *problems)
{
  json_t *texts = json_array();
  for (guint i = 0; i < problems->len; i++)
    json_array_append_new(texts, output_json_text(problems->pdata[i]));
  return json_pack("{s:o, s:o, s:b, s:o}", "argument", output_json_text(argument), "storePath",
                   store_path ? output_json_text(store_path) : json_null(), "ok",
                   problems->len == 0, "problems", texts);
}

static gboolean
verify_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(json_t) out = json_array();
  int n_bad = 0;
  for (int i = 0; i < n_arguments; i++) {
    g_autoptr(GError) local = NULL;
    g_autofree char *store_path = references_argument_path(arguments[i], NULL, &local);
    /* The only one: there is no result to tell it from. */
    if (!store_path && n_arguments == 1 && !option_json) {
      g_propagate_error(error, g_steal_pointer(&local));
      return FALSE;
    }
    g_autoptr(GPtrArray) problems =
        store_path ? verify_path(store_path) : g_ptr_array_new_with_free_func(g_free);
    add_problem(problems, &local);
    n_bad += problems->len > 0;
    if (option_json)
      json_array_append_new(out, json_of(arguments[i], store_path, problems));
    else
      print_text(store_path ? store_path : arguments[i], problems);
  }
  if (option_json)
    output_json(out);
  return n_bad == 0 ||
         util_error(error, NIXSTORE_ERROR_INVALID, "%d of %d image path%s not as recorded", n_bad,
                    n_arguments, n_arguments == 1 ? " is" : "s are");
}

const Command command_verify = {
    .name = "verify",
    .arguments = "STOREPATH|IMAGE...",
    .summary = "Check image paths against all that is recorded of them",
    .description =
        "Checks every file of the image paths against the manifest, the digests, and the content\n"
        "against the NAR hash that the store recorded. Prints all problems, one a line. IMAGE is "
        "the\n"
        "name or the ID of an image in Podman's storage.",
    .options = verify_options,
    .podman = TRUE,
    .min_arguments = 1,
    .max_arguments = -1,
    .run = verify_run,
};
