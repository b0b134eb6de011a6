/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>

#include "idmap.h"
#include "plan.h"
#include "util.h"

/* Layers as letters, top to bottom: R, S references; o, p ordinary layers; w one with .wh. names; e
 * a placeholder that is empty and no layer; x an empty layer; u a user's directory; m one whose ids are mapped and that cannot
 * be mounted so; n the same, empty. */
static PlanFacts
fact(char letter)
{
  static const PlanFacts facts[] = {
      ['R'] = {"/h/r/diff", "/nix/store/r/rootfs", "/nix/store", FALSE, FALSE},
      ['S'] = {"/h/s/diff", "/nix/store/s/rootfs", "/nix/store", FALSE, FALSE},
      ['o'] = {"/h/o/diff", NULL, "/h", FALSE, FALSE},
      ['p'] = {"/h/p/diff", NULL, "/h", FALSE, FALSE},
      ['w'] = {"/h/w/diff", NULL, "/h", FALSE, TRUE},
      ['e'] = {"/h/e/empty", NULL, NULL, TRUE, FALSE},
      ['x'] = {"/h/x/diff", NULL, "/h", TRUE, FALSE},
      ['u'] = {"/u", NULL, NULL, FALSE, FALSE},
      ['m'] = {"/h/m/diff", NULL, "/h", FALSE, FALSE, TRUE},
      ['n'] = {"/h/n/diff", NULL, "/h", TRUE, FALSE, TRUE},
  };
  return facts[(guchar)letter];
}

typedef struct {
  const char *layers;
  gboolean use_index, upper;
  /* Expected: "none", "reference", "merged", or what the error says. */
  const char *index, *lowers, *data;
  gboolean is_bind;
} Case;

static const Case cases[] = {
    /* One reference. */
    {"R", TRUE, TRUE, "reference", "", "/nix/store/r/rootfs", FALSE},
    {"R", TRUE, FALSE, "reference", "", "/nix/store/r/rootfs", FALSE},
    {"Re", TRUE, FALSE, "reference", "", "/nix/store/r/rootfs", FALSE},
    {"Rx", TRUE, TRUE, "reference", "", "/nix/store/r/rootfs", FALSE},
    {"oR", TRUE, TRUE, "reference", "/h/o/diff", "/nix/store/r/rootfs", FALSE},
    {"opRe", TRUE, TRUE, "reference", "/h/o/diff|/h/p/diff", "/nix/store/r/rootfs", FALSE},
    {"xR", TRUE, FALSE, "reference", "/h/x/diff", "/nix/store/r/rootfs", FALSE},
    {"uR", TRUE, FALSE, "reference", "/u", "/nix/store/r/rootfs", FALSE},
    /* Stacks that only one index for all can show. */
    {"Ro", TRUE, TRUE, "merged", "", "/nix/store|/h", FALSE},
    {"oRp", TRUE, TRUE, "merged", "", "/h|/nix/store", FALSE},
    {"RS", TRUE, FALSE, "merged", "", "/nix/store", FALSE},
    {"wR", TRUE, TRUE, "merged", "", "/h|/nix/store", FALSE},
    {"owpRe", TRUE, TRUE, "merged", "", "/h|/nix/store", FALSE},
    {"wo", TRUE, TRUE, "merged", "", "/h", FALSE},
    {"we", TRUE, FALSE, "merged", "", "/h", FALSE},
    {"w", TRUE, FALSE, "merged", "", "/h", FALSE},
    {"uwR", TRUE, TRUE, "/u is no layer", NULL, NULL, FALSE},
    {"Ru", TRUE, TRUE, "/u is no layer", NULL, NULL, FALSE},
    {"mR", TRUE, TRUE, "merged", "", "/h|/nix/store", FALSE},
    {"mnR", TRUE, TRUE, "merged", "", "/h|/nix/store", FALSE},
    {"nR", TRUE, TRUE, "reference", "", "/nix/store/r/rootfs", FALSE},
    {"me", TRUE, FALSE, "merged", "", "/h", FALSE},
    {"umR", TRUE, TRUE, "/u is no layer", NULL, NULL, FALSE},
    /* Ordinary layers alone: as they are, placeholders too. */
    {"o", TRUE, TRUE, "none", "/h/o/diff", "", FALSE},
    {"o", TRUE, FALSE, "none", "/h/o/diff", "", TRUE},
    {"oe", TRUE, FALSE, "none", "/h/o/diff|/h/e/empty", "", FALSE},
    {"op", FALSE, TRUE, "none", "/h/o/diff|/h/p/diff", "", FALSE},
    {"u", TRUE, FALSE, "none", "/u", "", TRUE},
    {"e", TRUE, TRUE, "none", "/h/e/empty", "", FALSE},
    /* Without an index. */
    {"R", FALSE, FALSE, "none", "/nix/store/r/rootfs", "", TRUE},
    {"Re", FALSE, FALSE, "none", "/nix/store/r/rootfs", "", TRUE},
    {"R", FALSE, TRUE, "none", "/nix/store/r/rootfs", "", FALSE},
    {"oR", FALSE, FALSE, "none", "/h/o/diff|/nix/store/r/rootfs", "", FALSE},
    {"RS", FALSE, FALSE, "none", "/nix/store/r/rootfs|/nix/store/s/rootfs", "", FALSE},
    {"Ro", FALSE, TRUE, "none", "/nix/store/r/rootfs|/h/o/diff", "", FALSE},
    {"wR", FALSE, TRUE, ".wh. files", NULL, NULL, FALSE},
    {"", TRUE, TRUE, "no lower", NULL, NULL, FALSE},
};

static const char *
index_name(PlanIndex index)
{
  static const char *const names[] = {"none", "reference", "merged"};
  return names[index];
}

static MountPlan *
make_plan(const Case *test, GError **error)
{
  g_autoptr(MountOptions) options =
      options_parse(test->upper ? "lowerdir=/a,upperdir=/up,workdir=/work,volatile,"
                                  "uidmapping=0:1:2,gidmapping=0:1:2,context=c"
                                : "lowerdir=/a,volatile",
                    NULL);
  PlanFacts facts[8];
  gsize n = strlen(test->layers);

  for (gsize i = 0; i < n; i++)
    facts[i] = fact(test->layers[i]);
  return plan_new(options, facts, n, test->use_index, "/target", error);
}

static void
test_table(gconstpointer data)
{
  const Case *test = data;
  g_autoptr(GError) error = NULL;
  g_autoptr(MountPlan) plan = make_plan(test, &error);

  if (!test->lowers) {
    g_assert_null(plan);
    g_assert_nonnull(strstr(error->message, test->index));
    return;
  }
  g_assert_no_error(error);
  g_autofree char *lowers = g_strjoinv("|", plan->lowers);
  g_autofree char *layers = g_strjoinv("|", plan->data);
  g_assert_cmpstr(index_name(plan->index), ==, test->index);
  g_assert_cmpstr(lowers, ==, test->lowers);
  g_assert_cmpstr(layers, ==, test->data);
  g_assert_cmpint(plan_is_bind(plan), ==, test->is_bind);
  g_assert_cmpstr(plan->target, ==, "/target");
  g_assert_cmpstr(plan->upper, ==, test->upper ? "/up" : NULL);
  g_assert_cmpstr(plan->work, ==, test->upper ? "/work" : NULL);
  g_assert_cmpstr(plan->context, ==, test->upper ? "c" : NULL);
  /* Volatile means nothing without an upper. */
  g_assert_cmpint(plan->is_volatile, ==, test->upper);
  g_assert_cmpint(plan->uids != NULL, ==, test->upper);
  if (plan->index == PLAN_INDEX_REFERENCE)
    g_assert_cmpint(test->layers[plan->reference], ==, 'R');
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *name = g_strdup_printf(
        "/plan/%s%s%s", cases[i].use_index ? "index/" : "plain/",
        cases[i].upper ? "upper/" : "read-only/", *cases[i].layers ? cases[i].layers : "no-layers");
    g_test_add_data_func(name, &cases[i], test_table);
  }
  return g_test_run();
}
