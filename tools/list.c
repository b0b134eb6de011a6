/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "output.h"
#include "references.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

static gboolean option_json;

static const GOptionEntry list_options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

static void
print_json(GPtrArray *entries)
{
  g_autoptr(json_t) out = json_array();
  for (guint i = 0; i < entries->len; i++) {
    const ImageReference *entry = entries->pdata[i];
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
print_row(const ImageReference *entry, const char *name, int width)
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
    const ImageReference *entry = entries->pdata[i];
    for (char **name = entry->image->names; *name; name++)
      width = MAX(width, (int)strlen(*name));
  }
  printf("%-*s  %-12s  %10s  %s\n", width, "NAME", "IMAGE ID", "SIZE", "STORE PATH");
  for (guint i = 0; i < entries->len; i++) {
    const ImageReference *entry = entries->pdata[i];
    if (!entry->image->names[0])
      print_row(entry, "<none>", width);
    for (char **name = entry->image->names; *name; name++)
      print_row(entry, *name, width);
  }
}

static gboolean
list_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(GPtrArray) left_out = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GPtrArray) entries = references_list(left_out, error);
  if (!entries)
    return FALSE;
  for (guint i = 0; i < left_out->len; i++)
    command_note("left out: %s", (const char *)left_out->pdata[i]);
  references_look_up(entries);
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
