/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "import.h"
#include "argument.h"
#include "cache.h"
#include "command.h"
#include "image.h"
#include "output.h"
#include "podman.h"
#include "reference-image.h"
#include "reference-layer.h"
#include "scratch.h"
#include "store.h"
#include "trust.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

#define IMPORT_TRIES 5

void
import_free(Import *import)
{
  if (!import)
    return;
  g_free(import->name);
  g_free(import->image_id);
  g_free(import->config_digest);
  g_free(import);
}

/* Work in a thread of its own, which ends with an error or none. */
typedef struct {
  GThread *thread; /* NULL once it has ended */
  GError *error;   /* what it ended with: the same for all who ask */
} Task;

/* Waits for the task, and fails if that did. */
static gboolean
task_join(Task *task, GError **error)
{
  GThread *thread = g_steal_pointer(&task->thread);
  if (thread)
    task->error = g_thread_join(thread);
  if (!task->error)
    return TRUE;
  if (error)
    *error = g_error_copy(task->error);
  return FALSE;
}

static void
task_clear(Task *task)
{
  task_join(task, NULL);
  g_clear_error(&task->error);
}

/* A GC root that holds the path while Podman loads the image, made in the meantime. */
typedef struct {
  Task task;
  const char *store_path;
  char *link;
} Hold;

static gpointer
hold_thread(gpointer data)
{
  Hold *hold = data;
  GError *error = NULL;
  store_add_root(hold->store_path, hold->link, &error);
  return error;
}

static void
hold_start(Hold *hold, const char *store_path, const Scratch *scratch)
{
  hold->store_path = store_path;
  hold->link = g_build_filename(scratch->path, "gcroot", NULL);
  hold->task.thread = g_thread_new("gcroot", hold_thread, hold);
}

static void
hold_clear(Hold *hold)
{
  task_clear(&hold->task);
  if (hold->link)
    store_remove_root(hold->link);
  g_clear_pointer(&hold->link, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Hold, hold_clear)

/* The index, and the verdict that the reference tells the truth, into the cache: then the first
 * mount is as fast as all later ones. Meanwhile Podman loads the image. */
typedef struct {
  Task task;
  Image *image;
  Reference *reference;
} Preparation;

static gpointer
preparation_thread(gpointer data)
{
  Preparation *it = data;
  GError *error = NULL;
  g_autoptr(GError) no_cache = NULL;
  g_autoptr(Cache) cache = cache_open(&no_cache);
  if (!cache) {
    /* The mount will say so, and may run with other rights; that the image is sound can be seen
     * without. */
    tree_free(image_load_tree(it->image, &error));
    return error;
  }
  if (trust_check_reference(cache, it->reference, &error)) {
    int index = cache_open_reference_index(cache, it->reference, &error);
    util_close_fd(&index);
  }
  return error;
}

static void
preparation_clear(Preparation *it)
{
  task_clear(&it->task);
  image_free(it->image);
  reference_free(it->reference);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Preparation, preparation_clear)

/* Whether containers can run, found out while Podman loads the image. */
typedef struct {
  Task task;
  gboolean can_mount;
} Probe;

static gpointer
probe_thread(gpointer data)
{
  ((Probe *)data)->can_mount = podman_can_mount();
  return NULL;
}

static void
probe_clear(Probe *probe)
{
  task_clear(&probe->task);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Probe, probe_clear)

/* Checks the path, makes the reference image for it, and starts what else can be prepared. */
static ReferenceImage *
import_prepare(Preparation *it, const char *store_path, const char *name, GError **error)
{
  gsize size;
  it->reference = g_new0(Reference, 1);
  it->reference->store_path = g_strdup(store_path);
  /* The hash first: for a path that is gone, the store's error says what to do. */
  it->reference->nar_hash = store_query_hash(store_path, error);
  it->image = it->reference->nar_hash ? image_open(store_path, error) : NULL;
  g_autofree char *config = it->image ? image_read_config(it->image, &size, error) : NULL;
  if (!config)
    return NULL;
  it->reference->manifest_digest = g_strdup(it->image->manifest_digest);
  ReferenceImage *image = reference_image_new(it->reference, config, size, name, error);
  if (image)
    it->task.thread = g_thread_new("index", preparation_thread, it);
  return image;
}

static gboolean
import_give_names(const char *id, char **names, GError **error)
{
  g_autoptr(GPtrArray) arguments = g_ptr_array_new();
  g_ptr_array_add(arguments, (char *)"tag");
  g_ptr_array_add(arguments, (char *)id);
  for (; *names; names++)
    g_ptr_array_add(arguments, *names);
  g_ptr_array_add(arguments, NULL);
  return arguments->len == 3 || podman_run((const char *const *)arguments->pdata, NULL, error);
}

/* Takes an image that lost its reference out of Podman's storage, so that it can be loaded again.
 * One that containers stand on stays, with the names that it has: Podman removes none that has more
 * than one without --force, which takes its containers as well. */
static gboolean
import_remove_damaged(const PodmanImage *image, GError **error)
{
  const char *untag[] = {"untag", image->id, NULL};
  const char *rmi[] = {"rmi", image->id, NULL};
  if ((!image->names[0] || podman_run(untag, NULL, error)) && podman_run(rmi, NULL, error))
    return TRUE;
  import_give_names(image->id, image->names, NULL);
  g_prefix_error(error,
                 "the image %.12s has lost its reference, by a power failure perhaps, and is in "
                 "use: remove it with `podman rmi --force %.12s' and import it again: ",
                 image->id, image->id);
  return FALSE;
}

/* What one import works with. */
typedef struct {
  Import *import;
  Preparation *preparation;
  const ReferenceImage *reference;
  const Scratch *scratch;
  gboolean was_there;   /* Podman has had the image, in the try that is made */
  PodmanImage *damaged; /* an image of that ID that had lost its reference, which was removed */
} Importing;

static void
importing_clear(Importing *it)
{
  podman_image_free(it->damaged);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Importing, importing_clear)

/* Loads the image. Returns what Podman knows of it then. */
static PodmanImage *
import_load(Importing *it, GError **error)
{
  const ReferenceImage *image = it->reference;
  g_autofree char *file = g_build_filename(it->scratch->path, "reference.tar", NULL);
  it->import->loaded = TRUE;
  if (!util_replace_file(it->scratch->fd, "reference.tar", image->archive->data,
                         image->archive->len, 0600, error) ||
      !podman_load(file, image->format, it->scratch->path, error))
    return NULL;
  it->was_there = TRUE;
  return podman_inspect_image(image->id, error);
}

/* The image, loaded if Podman has none of that ID, and once more if what there is then has lost its
 * reference: Podman does not unpack a layer that it finds in its books, and after a power failure
 * that may be a damaged one, with an image above it or without. */
static PodmanImage *
import_have_image(Importing *it, GError **error)
{
  /* Any failure is taken for "no such image": if it is another, loading fails for it too. */
  g_autoptr(PodmanImage) image = podman_inspect_image(it->reference->id, NULL);
  it->import->loaded = FALSE;
  it->was_there = image != NULL;
  if (!image)
    image = import_load(it, error);
  if (!image || !image->diffs[0])
    return g_steal_pointer(&image);
  if (!reference_layer_check_is_here(image, error))
    return NULL;
  if (reference_layer_is_whole(image, it->preparation->reference))
    return g_steal_pointer(&image);
  if (!import_remove_damaged(image, error))
    return NULL;
  if (!it->damaged)
    it->damaged = g_steal_pointer(&image);
  return import_load(it, error);
}

static gboolean
import_have_names(Importing *it, const PodmanImage *image, GError **error)
{
  Import *import = it->import;
  char *names[] = {import->name, NULL};
  import->existed =
      !import->loaded && g_strv_contains((const char *const *)image->names, import->name);
  return (import->loaded || import->existed || import_give_names(image->id, names, error)) &&
         (!it->damaged || import_give_names(image->id, it->damaged->names, error));
}

/* Takes the image out again, but for the names that others have given it by now. */
static void
import_undo(const Import *import)
{
  const char *rmi[] = {"rmi", import->image_id, NULL};
  const char *untag[] = {"untag", import->image_id, import->name, NULL};
  g_autoptr(PodmanImage) image = podman_inspect_image(import->image_id, NULL);
  /* One that cannot be looked at would stay without a root. Podman itself refuses to remove by its
   * ID what has several names. */
  gboolean ours = !image || !image->names[0] ||
                  (g_str_equal(image->names[0], import->name) && !image->names[1]);
  podman_run(ours ? rmi : untag, NULL, NULL);
}

/* How a try ends. */
typedef enum {
  IMPORT_DONE,
  IMPORT_FAILED,
  IMPORT_GONE, /* it failed, and Podman does not have the image */
} ImportEnd;

/* What has failed is worth a further try if Podman does not have the image, by its own word. No
 * text of an error is asked: it holds names of files, which an image chooses, and words of the
 * user's language. */
static ImportEnd
import_end_of_failure(const Importing *it)
{
  gboolean there = TRUE;
  return podman_has_image(it->reference->id, &there, NULL) && !there ? IMPORT_GONE : IMPORT_FAILED;
}

static ImportEnd
import_once(Importing *it, GError **error)
{
  /* An image without its root would lose its path to the next collection. */
  scratch_hold_signals();
  g_autoptr(PodmanImage) image = import_have_image(it, error);
  gboolean has_root =
      image && reference_layer_add_root(image, it->preparation->reference->store_path, error);
  gboolean is_sound = !has_root || task_join(&it->preparation->task, error);
  ImportEnd end = IMPORT_FAILED;
  if (has_root && is_sound && import_have_names(it, image, error))
    end = IMPORT_DONE;
  else if (is_sound)
    end = import_end_of_failure(it);
  if (end == IMPORT_FAILED && it->import->loaded)
    import_undo(it->import);
  scratch_release_signals();
  return end;
}

/* Podman's storage is anybody's between two of its steps. Who prunes meanwhile takes an image that
 * has no name yet; who removes another name of the image takes it before it gets ours; and all
 * images of a path have one layer, which load finds and then misses where the last of them is just
 * removed. Who removes all images as soon as they are there has the last word, as with `podman
 * load'. */
static gboolean
import_until_there(Importing *it, GError **error)
{
  for (guint tries = IMPORT_TRIES; tries > 0; tries--) {
    g_autoptr(GError) local = NULL;
    ImportEnd end = import_once(it, &local);
    if (end == IMPORT_DONE)
      return TRUE;
    if (end == IMPORT_FAILED || (tries == 1 && !it->was_there)) {
      g_propagate_error(error, g_steal_pointer(&local));
      return FALSE;
    }
  }
  command_note("%s was removed again by somebody, each time that it had been loaded (%d)",
               it->import->name, IMPORT_TRIES);
  return TRUE;
}

/* The image @damaged was removed, and nothing could be put in its place. */
static void
import_note_names(const PodmanImage *damaged)
{
  g_autofree char *names = damaged ? g_strjoinv(", ", damaged->names) : NULL;
  if (names && *names)
    command_note("the image %.12s, which had lost its reference, is removed; it was called %s",
                 damaged->id, names);
}

Import *
import_image(const char *store_path, const char *name, GError **error)
{
  g_autoptr(Import) import = g_new0(Import, 1);
  if (!store_path_check(store_path, error))
    return NULL;
  import->name = name ? argument_image_name(name, error) : argument_default_name(store_path);
  g_autoptr(Scratch) scratch = import->name ? scratch_new(error) : NULL;
  if (!scratch)
    return NULL;
  g_auto(Hold) hold = {0};
  g_auto(Preparation) preparation = {0};
  g_auto(Probe) probe = {0};
  probe.task.thread = g_thread_new("probe", probe_thread, &probe);
  hold_start(&hold, store_path, scratch);
  g_autoptr(ReferenceImage) reference =
      import_prepare(&preparation, store_path, import->name, error);
  if (!reference || !task_join(&hold.task, error))
    return NULL;
  import->image_id = g_strdup(reference->id);
  import->config_digest = g_strdup(preparation.image->config_digest);
  /* Podman does flush its books: they are not to name a path that a power failure takes. */
  g_auto(Importing) importing = {import, &preparation, reference, scratch};
  if (!store_flush(store_path, error) || !import_until_there(&importing, error)) {
    import_note_names(importing.damaged);
    return NULL;
  }
  if (import->loaded && task_join(&probe.task, NULL) && !probe.can_mount)
    command_note("containers of it need nixstore-mount as the overlay driver's mount_program, or "
                 "the storage driver nixstore: see nixstore-mount(8)");
  return g_steal_pointer(&import);
}

static char *option_name;
static gboolean option_json;

static const GOptionEntry import_options[] = {
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name,
     "What the image is called in Podman [localhost/NAME:latest]", "NAME[:TAG]"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print the result as a JSON object", NULL},
    {0},
};

static void
print_json(const char *store_path, const Import *import)
{
  g_autoptr(json_t) object = output_path_json(store_path, import->config_digest);
  output_add_podman_image(object, import->name, import->image_id);
  json_object_set_new(object, "existed", json_boolean(import->existed));
  output_json(object);
}

static gboolean
import_run(char **arguments, int n_arguments, GError **error)
{
  g_autofree char *store_path = argument_store_path(arguments[0], error);
  g_autoptr(Import) import = store_path ? import_image(store_path, option_name, error) : NULL;
  if (!import)
    return FALSE;
  if (import->existed)
    command_note("%s is there already, as %.12s", import->name, import->image_id);
  if (option_json)
    print_json(store_path, import);
  else
    printf("%s\n", import->name);
  return TRUE;
}

const Command command_import = {
    .name = "import",
    .arguments = "STOREPATH",
    .summary = "Register an image path with Podman",
    .description =
        "Puts a reference image of about 10 kB into Podman's storage, which stands for the image\n"
        "path STOREPATH, and makes the path a GC root for as long as Podman has that image.\n"
        "Prints the image's name.",
    .options = import_options,
    .podman = TRUE,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = import_run,
};
