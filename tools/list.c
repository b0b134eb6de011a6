/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "output.h"
#include "podman.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

static gboolean option_json;

static const GOptionEntry list_options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

/* An image of Podman's that stands on a store path. */
typedef struct {
  PodmanImage *image;
  Reference *reference;
  gboolean present; /* the store has the path */
  guint64 size;     /* of its NAR; 0 when it is not present */
} Entry;

static void
entry_free(Entry *entry)
{
  podman_image_free(entry->image);
  reference_free(entry->reference);
  g_free(entry);
}

/* The IDs of all of Podman's images, each once; NULL at the end. */
static GPtrArray *
podman_image_ids(GError **error)
{
  const char *arguments[] = {"images", "--quiet", "--no-trunc", NULL};
  g_autofree char *output = NULL;
  if (!podman_run(arguments, &output, error))
    return NULL;
  g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
  GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
  g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
  for (char **line = lines; *line; line++) {
    const char *id = g_str_has_prefix(*line, "sha256:") ? *line + strlen("sha256:") : *line;
    if (*id && g_hash_table_add(seen, (char *)id))
      g_ptr_array_add(ids, g_strdup(id));
  }
  g_ptr_array_add(ids, NULL);
  return ids;
}

/* Asked for one by one where an answer for all fails: an image may have gone in the meantime, or be
 * damaged. */
static GPtrArray *
podman_inspect_each(GPtrArray *ids)
{
  GPtrArray *images = g_ptr_array_new_with_free_func((GDestroyNotify)podman_image_free);
  for (guint i = 0; i + 1 < ids->len; i++) {
    g_autoptr(GError) local = NULL;
    PodmanImage *image = podman_inspect_image(ids->pdata[i], &local);
    if (image)
      g_ptr_array_add(images, image);
    else
      command_note("left out: %s", local->message);
  }
  return images;
}

static GPtrArray *
list_entries(GError **error)
{
  g_autoptr(GPtrArray) ids = podman_image_ids(error);
  GPtrArray *entries = ids ? g_ptr_array_new_with_free_func((GDestroyNotify)entry_free) : NULL;
  if (!ids || ids->len == 1)
    return entries;
  g_autoptr(GPtrArray) images = podman_inspect_images((const char *const *)ids->pdata, NULL);
  if (!images)
    images = podman_inspect_each(ids);
  while (images->len > 0) {
    g_autoptr(PodmanImage) image = g_ptr_array_steal_index(images, 0);
    g_autoptr(GError) local = NULL;
    Reference *reference = NULL;
    if (!podman_image_reference(image, &reference, &local))
      command_note("left out: %s: %s", image->names[0] ? image->names[0] : image->id,
                   local->message);
    if (!reference)
      continue;
    Entry *entry = g_new0(Entry, 1);
    entry->image = g_steal_pointer(&image);
    entry->reference = reference;
    g_ptr_array_add(entries, entry);
  }
  return entries;
}

/* One question to the store for all that can be there; if it fails, one for each. */
static void
list_look_up(GPtrArray *entries)
{
  g_autoptr(GPtrArray) there = g_ptr_array_new();
  g_autoptr(GPtrArray) paths = g_ptr_array_new();
  for (guint i = 0; i < entries->len; i++) {
    Entry *entry = entries->pdata[i];
    if (access(entry->reference->store_path, F_OK) != 0)
      continue;
    g_ptr_array_add(there, entry);
    g_ptr_array_add(paths, entry->reference->store_path);
  }
  g_ptr_array_add(paths, NULL);
  g_autofree guint64 *sizes = g_new0(guint64, there->len + 1);
  gboolean all = store_query_sizes((const char *const *)paths->pdata, sizes, NULL);
  for (guint i = 0; i < there->len; i++) {
    Entry *entry = there->pdata[i];
    entry->size = sizes[i];
    entry->present = all || store_query_size(entry->reference->store_path, &entry->size, NULL);
  }
}

static void
print_json(GPtrArray *entries)
{
  g_autoptr(json_t) out = json_array();
  for (guint i = 0; i < entries->len; i++) {
    const Entry *entry = entries->pdata[i];
    json_t *names = json_array();
    for (char **name = entry->image->names; *name; name++)
      json_array_append_new(names, json_string(*name));
    json_t *size = entry->present ? json_integer((json_int_t)entry->size) : json_null();
    json_array_append_new(out,
                          json_pack("{s:s, s:o, s:s, s:s, s:s, s:b, s:o}", "id", entry->image->id,
                                    "names", names, "storePath", entry->reference->store_path,
                                    "narHash", entry->reference->nar_hash, "manifestDigest",
                                    entry->reference->manifest_digest, "present", entry->present,
                                    "narSize", size));
  }
  output_json(out);
}

static void
print_row(const Entry *entry, const char *name, int width)
{
  g_autofree char *size = entry->present ? output_size(entry->size) : g_strdup("missing");
  printf("%-*s  %.12s  %10s  %s\n", width, name, entry->image->id, size,
         entry->reference->store_path);
}

static void
print_table(GPtrArray *entries)
{
  int width = (int)strlen("<none>");
  for (guint i = 0; i < entries->len; i++) {
    const Entry *entry = entries->pdata[i];
    for (char **name = entry->image->names; *name; name++)
      width = MAX(width, (int)strlen(*name));
  }
  printf("%-*s  %-12s  %10s  %s\n", width, "NAME", "IMAGE ID", "SIZE", "STORE PATH");
  for (guint i = 0; i < entries->len; i++) {
    const Entry *entry = entries->pdata[i];
    if (!entry->image->names[0])
      print_row(entry, "<none>", width);
    for (char **name = entry->image->names; *name; name++)
      print_row(entry, *name, width);
  }
}

static gboolean
list_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(GPtrArray) entries = list_entries(error);
  if (!entries)
    return FALSE;
  list_look_up(entries);
  if (option_json)
    print_json(entries);
  else
    print_table(entries);
  return TRUE;
}

const Command command_list = {
    .name = "list",
    .arguments = "",
    .summary = "List Podman's images that are in the Nix store",
    .description = "Lists those of Podman's images that stand on a path of the Nix store, with "
                   "their real sizes\n"
                   "(of the path's NAR), or `missing' where the store does not have the path.",
    .options = list_options,
    .podman = TRUE,
    .min_arguments = 0,
    .max_arguments = 0,
    .run = list_run,
};
