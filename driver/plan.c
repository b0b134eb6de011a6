/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "plan.h"

#include <string.h>

#include "util.h"

static gboolean
plan_strv_contains(const GPtrArray *array, const char *text)
{
  for (guint i = 0; i < array->len; i++)
    if (strcmp(array->pdata[i], text) == 0)
      return TRUE;
  return FALSE;
}

static char **
plan_take_strv(GPtrArray *array)
{
  g_ptr_array_add(array, NULL);
  return (char **)g_ptr_array_free(array, FALSE);
}

/* The layers of @facts that count: what is empty below a reference shows nothing, but would keep
 * the index from being the lowest, as one above it that cannot be mapped; nor can a placeholder that
 * is no layer be part of a merged index. */
static GArray *
plan_select_layers(const PlanFacts *facts, gsize n_facts)
{
  GArray *selected = g_array_new(FALSE, FALSE, sizeof(guint));
  gboolean below_reference = FALSE, merged = FALSE, reference = FALSE;

  for (guint i = 0; i < n_facts; i++) {
    merged = merged || facts[i].has_whiteouts || (facts[i].is_unmappable && !facts[i].is_empty);
    reference = reference || facts[i].rootfs;
  }
  for (guint i = 0; i < n_facts; i++) {
    gboolean placeholder = merged && !facts[i].container;
    gboolean unmappable = facts[i].is_unmappable && reference;
    if (!(facts[i].is_empty && (below_reference || placeholder || unmappable)))
      g_array_append_val(selected, i);
    if (facts[i].rootfs)
      below_reference = TRUE;
  }
  return selected;
}

static const PlanFacts *
plan_fact(const PlanFacts *facts, const GArray *selected, guint i)
{
  return &facts[g_array_index(selected, guint, i)];
}

/* Which index the selected layers need. */
static PlanIndex
plan_choose_index(const PlanFacts *facts, const GArray *selected)
{
  guint references = 0;
  gboolean merged = FALSE, lowest = FALSE;

  for (guint i = 0; i < selected->len; i++) {
    const PlanFacts *fact = plan_fact(facts, selected, i);
    lowest = fact->rootfs != NULL;
    references += lowest;
    merged = merged || fact->has_whiteouts || fact->is_unmappable;
  }
  if (references == 0 && !merged)
    return PLAN_INDEX_NONE;
  return references == 1 && lowest && !merged ? PLAN_INDEX_REFERENCE : PLAN_INDEX_MERGED;
}

static gboolean
plan_fill_plain(MountPlan *plan, const PlanFacts *facts, const GArray *selected, GError **error)
{
  g_autoptr(GPtrArray) lowers = g_ptr_array_new_with_free_func(g_free);

  for (guint i = 0; i < selected->len; i++) {
    const PlanFacts *fact = plan_fact(facts, selected, i);
    if (fact->has_whiteouts)
      return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                        "layer %s holds .wh. files, which this mode cannot apply: use mode erofs",
                        fact->path);
    g_ptr_array_add(lowers, g_strdup(fact->rootfs ? fact->rootfs : fact->path));
  }
  plan->lowers = plan_take_strv(g_steal_pointer(&lowers));
  plan->data = g_new0(char *, 1);
  return TRUE;
}

static void
plan_fill_reference(MountPlan *plan, const PlanFacts *facts, const GArray *selected)
{
  GPtrArray *lowers = g_ptr_array_new();
  guint last = selected->len - 1;

  for (guint i = 0; i < last; i++)
    g_ptr_array_add(lowers, g_strdup(plan_fact(facts, selected, i)->path));
  plan->lowers = plan_take_strv(lowers);
  plan->data = g_new0(char *, 2);
  plan->data[0] = g_strdup(plan_fact(facts, selected, last)->rootfs);
  plan->reference = g_array_index(selected, guint, last);
}

static gboolean
plan_fill_merged(MountPlan *plan, const PlanFacts *facts, const GArray *selected, GError **error)
{
  g_autoptr(GPtrArray) data = g_ptr_array_new_with_free_func(g_free);

  for (guint i = 0; i < selected->len; i++) {
    const PlanFacts *fact = plan_fact(facts, selected, i);
    if (!fact->container)
      return util_error(
          error, NIXSTORE_ERROR_UNSUPPORTED,
          "%s is no layer of Podman's storage and cannot be merged with layers that are",
          fact->path);
    if (!plan_strv_contains(data, fact->container))
      g_ptr_array_add(data, g_strdup(fact->container));
  }
  plan->data = plan_take_strv(g_steal_pointer(&data));
  plan->lowers = g_new0(char *, 1);
  return TRUE;
}

static gboolean
plan_fill_layers(MountPlan *plan, const PlanFacts *facts, const GArray *selected,
                 gboolean use_index, GError **error)
{
  plan->index = use_index ? plan_choose_index(facts, selected) : PLAN_INDEX_NONE;
  switch (plan->index) {
  case PLAN_INDEX_REFERENCE:
    plan_fill_reference(plan, facts, selected);
    return TRUE;
  case PLAN_INDEX_MERGED:
    return plan_fill_merged(plan, facts, selected, error);
  case PLAN_INDEX_NONE:
    break;
  }
  return plan_fill_plain(plan, facts, selected, error);
}

MountPlan *
plan_new(const MountOptions *options, const PlanFacts *facts, gsize n_facts, gboolean use_index,
         const char *target, GError **error)
{
  g_autoptr(MountPlan) plan = g_new0(MountPlan, 1);
  g_autoptr(GArray) selected = plan_select_layers(facts, n_facts);

  if (selected->len == 0) {
    util_error(error, NIXSTORE_ERROR_INVALID, "no lower directory given");
    return NULL;
  }
  if (!plan_fill_layers(plan, facts, selected, use_index, error))
    return NULL;
  plan->target = g_strdup(target);
  plan->upper = g_strdup(options->upper);
  plan->work = g_strdup(options->work);
  plan->is_volatile = options->is_volatile && options->upper;
  plan->context = g_strdup(options->context);
  plan->attributes = options->attributes;
  if (options->uids) {
    plan->uids = g_array_ref(options->uids);
    plan->gids = g_array_ref(options->gids);
  }
  return g_steal_pointer(&plan);
}

void
plan_free(MountPlan *plan)
{
  if (!plan)
    return;
  g_free(plan->target);
  g_strfreev(plan->lowers);
  g_strfreev(plan->data);
  g_free(plan->upper);
  g_free(plan->work);
  g_clear_pointer(&plan->uids, g_array_unref);
  g_clear_pointer(&plan->gids, g_array_unref);
  g_free(plan->context);
  g_free(plan->source);
  g_free(plan->overlaydir);
  g_free(plan->overlaydir_aside);
  g_free(plan);
}

gboolean
plan_is_bind(const MountPlan *plan)
{
  return plan->index == PLAN_INDEX_NONE && !plan->upper && plan->lowers[0] && !plan->lowers[1];
}
