/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "leftovers.h"
#include "output.h"
#include "util.h"

#include <stdio.h>

static gboolean option_dry_run;
static gboolean option_json;

static const GOptionEntry gc_options[] = {
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &option_dry_run, "Only say what would be removed", NULL},
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

typedef struct {
  json_t *removed;
  guint64 freed;
  guint count;
  GPtrArray *problems; /* lines */
} Collection;

static void
print_removed(const Leftover *leftover)
{
  g_autofree char *size = output_size(leftover->size);
  g_autofree char *path = util_escape(leftover->path);
  g_autofree char *why = util_escape(leftover->why);
  printf("%-10s %10s  %s: %s\n", leftover_kind_name(leftover->kind), size, path, why);
}

static void
collect(Collection *it, const Leftover *leftover)
{
  g_autoptr(GError) error = NULL;
  if (!option_dry_run && !leftover_remove(leftover, &error)) {
    /* In use again, it is no leftover. */
    if (error)
      g_ptr_array_add(it->problems, g_strdup(error->message));
    return;
  }
  it->freed += leftover->size;
  it->count++;
  if (!option_json)
    print_removed(leftover);
  json_array_append_new(it->removed, json_pack("{s:s, s:o, s:I, s:o}", "kind",
                                               leftover_kind_name(leftover->kind), "path",
                                               output_json_text(leftover->path), "size",
                                               (json_int_t)leftover->size, "reason",
                                               output_json_text(leftover->why)));
}

static void
print_result(const Collection *it)
{
  if (option_json) {
    g_autoptr(json_t) out = json_pack("{s:b, s:I, s:O}", "dryRun", option_dry_run, "freed",
                                      (json_int_t)it->freed, "removed", it->removed);
    output_json(out);
    return;
  }
  g_autofree char *size = output_size(it->freed);
  printf(option_dry_run ? "%u to remove, %s to free\n" : "%u removed, %s freed\n", it->count, size);
}

static gboolean
gc_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GPtrArray) leftovers = leftovers_find(problems);
  g_autoptr(json_t) removed = json_array();
  Collection it = {.removed = removed, .problems = problems};
  for (guint i = 0; i < leftovers->len; i++)
    collect(&it, leftovers->pdata[i]);
  print_result(&it);
  if (!option_json)
    command_note("store paths that nothing refers to any more are deleted by `nix-store --gc'");
  for (guint i = 0; problems->len > 1 && i < problems->len; i++)
    command_note("%s", (const char *)problems->pdata[i]);
  if (problems->len == 1)
    return util_error(error, NIXSTORE_ERROR_FAILED, "%s", (const char *)problems->pdata[0]);
  return problems->len == 0 ||
         util_error(error, NIXSTORE_ERROR_FAILED, "%u things could not be cleaned", problems->len);
}

const Command command_gc = {
    .name = "gc",
    .arguments = "",
    .summary = "Remove what nixstore has made and nobody needs any more",
    .description =
        "Removes indexes and verdicts of images that are gone, sockets of FUSE servers that are\n"
        "gone, temporary directories of killed commands, and notes of GC roots whose layer is\n"
        "gone. Never deletes store paths: `nix-store --gc' does, once no image refers to them.",
    .options = gc_options,
    .min_arguments = 0,
    .max_arguments = 0,
    .run = gc_run,
};
