/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "image.h"
#include "json-text.h"
#include "output.h"
#include "references.h"
#include "store.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

static gboolean option_json;

static const GOptionEntry inspect_options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

/* What the tree holds; of hard links each name is an entry, and the content counts once. */
typedef struct {
  guint64 entries, directories, files, symlinks, others, content_size;
} Counts;

static Counts
tree_counts(Tree *tree)
{
  Counts counts = {0};
  for (TreeNode *node = tree_root(tree); node; node = tree_next(node, NULL)) {
    TreeInode *inode = node->inode;
    counts.entries++;
    if (S_ISDIR(inode->mode)) {
      counts.directories++;
    } else if (S_ISREG(inode->mode)) {
      counts.files++;
      if (inode->mark++ == 0)
        counts.content_size += inode->size;
    } else if (S_ISLNK(inode->mode)) {
      counts.symlinks++;
    } else {
      counts.others++;
    }
  }
  return counts;
}

typedef struct {
  char *store_path;
  char *nar_hash;
  guint64 nar_size;
  Image *image;
  Counts counts;
  json_t *config;
  PodmanImage *podman; /* where an image of Podman's was asked for */
} Inspection;

static void
inspection_clear(Inspection *it)
{
  g_free(it->store_path);
  g_free(it->nar_hash);
  image_free(it->image);
  json_decref(it->config);
  podman_image_free(it->podman);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Inspection, inspection_clear)

static gboolean
inspect_load(Inspection *it, GError **error)
{
  gsize size;
  it->nar_hash = store_query_hash(it->store_path, error);
  if (!it->nar_hash || !store_query_size(it->store_path, &it->nar_size, error))
    return FALSE;
  it->image = image_open(it->store_path, error);
  g_autofree char *config = it->image ? image_read_config(it->image, &size, error) : NULL;
  g_autoptr(Tree) tree = config ? image_load_tree(it->image, error) : NULL;
  if (!tree)
    return FALSE;
  it->counts = tree_counts(tree);
  it->config = json_parse(config, size, error);
  if (it->config && !json_is_object(it->config))
    util_error(error, NIXSTORE_ERROR_INVALID, "not a JSON object");
  if (json_is_object(it->config))
    return TRUE;
  g_prefix_error(error, "%s/%s: ", it->store_path, IMAGE_CONFIG);
  return FALSE;
}

static void
print_json(const Inspection *it)
{
  g_autoptr(json_t) out = json_pack(
      "{s:s, s:i, s:s, s:s, s:s, s:I}", "storePath", it->store_path, "formatVersion",
      IMAGE_FORMAT_VERSION, "imageId", it->image->config_digest, "manifestDigest",
      it->image->manifest_digest, "narHash", it->nar_hash, "narSize", (json_int_t)it->nar_size);
  const Counts *c = &it->counts;
  json_object_set_new(out, "tree",
                      json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "entries", (json_int_t)c->entries,
                                "directories", (json_int_t)c->directories, "files",
                                (json_int_t)c->files, "symlinks", (json_int_t)c->symlinks, "others",
                                (json_int_t)c->others, "contentSize", (json_int_t)c->content_size));
  if (it->podman) {
    json_t *names = json_array();
    for (char **name = it->podman->names; *name; name++)
      json_array_append_new(names, json_string(*name));
    json_object_set_new(out, "podman",
                        json_pack("{s:s, s:o}", "id", it->podman->id, "names", names));
  }
  json_object_set(out, "config", it->config);
  output_json(out);
}

/* A list as JSON, on one line, as in a Dockerfile: ["/bin/sh", "-c"]. */
static void
print_list(const char *label, json_t *list)
{
  if (json_array_size(list) == 0)
    return;
  char *text = json_dumps(list, 0);
  output_field(label, text);
  free(text);
}

static void
print_lines(const char *label, json_t *list)
{
  gsize i;
  json_t *item;
  json_array_foreach(list, i, item) output_field(i == 0 ? label : "", json_string_value(item));
}

static void
print_keys(const char *label, json_t *object, gboolean values)
{
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value)
  {
    const char *text = values ? json_string_value(value) : NULL;
    g_autofree char *line = text ? g_strconcat(key, "=", text, NULL) : g_strdup(key);
    output_field(label, line);
    label = "";
  }
}

static void
print_config(json_t *document)
{
  json_t *config = json_object_get(document, "config");
  const char *os = json_string_value(json_object_get(document, "os"));
  const char *architecture = json_string_value(json_object_get(document, "architecture"));
  const char *variant = json_string_value(json_object_get(document, "variant"));
  g_autofree char *platform =
      g_strconcat(os ? os : "unknown", "/", architecture ? architecture : "unknown",
                  variant ? "/" : "", variant ? variant : "", NULL);
  output_field("Created", json_string_value(json_object_get(document, "created")));
  output_field("Author", json_string_value(json_object_get(document, "author")));
  output_field("Platform", platform);
  output_field("User", json_string_value(json_object_get(config, "User")));
  print_list("Entrypoint", json_object_get(config, "Entrypoint"));
  print_list("Command", json_object_get(config, "Cmd"));
  output_field("Directory", json_string_value(json_object_get(config, "WorkingDir")));
  print_lines("Environment", json_object_get(config, "Env"));
  print_keys("Ports", json_object_get(config, "ExposedPorts"), FALSE);
  print_keys("Volumes", json_object_get(config, "Volumes"), FALSE);
  print_keys("Labels", json_object_get(config, "Labels"), TRUE);
  output_field("Stop signal", json_string_value(json_object_get(config, "StopSignal")));
}

static void
print_text(const Inspection *it)
{
  const Counts *c = &it->counts;
  g_autofree char *nar_size = output_size(it->nar_size);
  g_autofree char *content_size = output_size(c->content_size);
  g_autofree char *version = g_strdup_printf("%d", IMAGE_FORMAT_VERSION);
  g_autofree char *entries =
      g_strdup_printf("%" G_GUINT64_FORMAT ": %" G_GUINT64_FORMAT " files, %" G_GUINT64_FORMAT
                      " directories, %" G_GUINT64_FORMAT " symlinks, %" G_GUINT64_FORMAT " others",
                      c->entries, c->files, c->directories, c->symlinks, c->others);
  json_t *layers = json_object_get(json_object_get(it->config, "rootfs"), "diff_ids");
  g_autofree char *n_layers = g_strdup_printf("%zu", json_array_size(layers));

  output_field("Store path", it->store_path);
  output_field("Format", version);
  output_field("Image ID", it->image->config_digest);
  output_field("Manifest", it->image->manifest_digest);
  output_field("NAR hash", it->nar_hash);
  output_field("NAR size", nar_size);
  output_field("Content", content_size);
  output_field("Entries", entries);
  output_field("Layers before", n_layers);
  for (char **name = it->podman ? it->podman->names : NULL; name && *name; name++)
    output_field(name == it->podman->names ? "In Podman" : "", *name);
  print_config(it->config);
}

static gboolean
inspect_run(char **arguments, int n_arguments, GError **error)
{
  g_auto(Inspection) it = {0};
  it.store_path = references_argument_path(arguments[0], &it.podman, error);
  if (!it.store_path || !inspect_load(&it, error))
    return FALSE;
  if (option_json)
    print_json(&it);
  else
    print_text(&it);
  return TRUE;
}

const Command command_inspect = {
    .name = "inspect",
    .arguments = "STOREPATH|IMAGE",
    .summary = "Show what an image path holds",
    .description = "Shows what is known of an image path: digests, sizes, how containers of it "
                   "start. IMAGE is\n"
                   "the name or the ID of an image in Podman's storage.",
    .options = inspect_options,
    .podman = TRUE,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = inspect_run,
};
