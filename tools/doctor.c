/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "doctor.h"
#include "command.h"
#include "output.h"
#include "util.h"

#include <stdio.h>

static gboolean option_fix;
static gboolean option_json;

static const GOptionEntry doctor_options[] = {
    {"fix", 0, 0, G_OPTION_ARG_NONE, &option_fix, "Make missing GC roots of images", NULL},
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, "Print JSON", NULL},
    {0},
};

/* In this order: the later ones go by what the earlier have looked at. */
static const struct {
  const char *name;
  void (*run)(Doctor *doctor);
} checks[] = {
    {"settings", doctor_check_settings}, {"store", doctor_check_store},
    {"modes", doctor_check_modes},       {"fuse", doctor_check_fuse},
    {"podman", doctor_check_podman},     {"subids", doctor_check_subids},
    {"images", doctor_check_images},     {"mounts", doctor_check_mounts},
    {"servers", doctor_check_servers},   {"leftovers", doctor_check_leftovers},
};

static const char *const severities[] = {
    [DOCTOR_NOTE] = "note", [DOCTOR_WARNING] = "warning", [DOCTOR_ERROR] = "error"};

static void
finding_free(DoctorFinding *finding)
{
  g_free(finding->what);
  g_free(finding->advice);
  g_free(finding);
}

DoctorFinding *
doctor_add(Doctor *doctor, DoctorSeverity severity, char *what, char *advice)
{
  DoctorFinding *finding = g_new0(DoctorFinding, 1);
  finding->check = doctor->check;
  finding->severity = severity;
  finding->what = what;
  finding->advice = advice;
  g_ptr_array_add(doctor->findings, finding);
  return finding;
}

static gboolean
is_problem(const DoctorFinding *finding)
{
  return finding->severity != DOCTOR_NOTE && !finding->is_fixed;
}

static void
print_finding(const DoctorFinding *finding)
{
  g_autofree char *what = util_escape(finding->what);
  g_autofree char *advice = util_escape(finding->advice);
  printf("%-8s %s: %s\n%9s%s\n", finding->is_fixed ? "fixed" : severities[finding->severity],
         finding->check, what, "", advice);
}

static json_t *
json_of(const DoctorFinding *finding)
{
  return json_pack("{s:s, s:s, s:b, s:o, s:o}", "check", finding->check, "severity",
                   severities[finding->severity], "fixed", finding->is_fixed, "what",
                   output_json_text(finding->what), "advice", output_json_text(finding->advice));
}

static void
print_json(const GPtrArray *findings, guint n_problems)
{
  json_t *list = json_array();
  for (guint i = 0; i < findings->len; i++)
    json_array_append_new(list, json_of(findings->pdata[i]));
  g_autoptr(json_t) out = json_pack("{s:b, s:o}", "ok", n_problems == 0, "findings", list);
  output_json(out);
}

static gboolean
doctor_run(char **arguments, int n_arguments, GError **error)
{
  g_autoptr(GPtrArray) findings = g_ptr_array_new_with_free_func((GDestroyNotify)finding_free);
  Doctor doctor = {.findings = findings, .fix = option_fix};
  guint n_problems = 0;
  for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
    doctor.check = checks[i].name;
    checks[i].run(&doctor);
  }
  podman_info_free(doctor.podman);
  for (guint i = 0; i < findings->len; i++) {
    n_problems += is_problem(findings->pdata[i]);
    if (!option_json)
      print_finding(findings->pdata[i]);
  }
  if (option_json)
    print_json(findings, n_problems);
  else if (n_problems == 0)
    printf("All is well: %zu checks\n", G_N_ELEMENTS(checks));
  return n_problems == 0 || util_error(error, NIXSTORE_ERROR_FAILED, "%u problem%s found",
                                       n_problems, n_problems == 1 ? "" : "s");
}

const Command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "Check this host and say what to do",
    .description =
        "Checks kernel, Nix store, settings, Podman, its images, mounts and caches. Prints two\n"
        "lines for each finding: what is wrong, and what to do. Fails where there is a problem.",
    .options = doctor_options,
    .podman = TRUE,
    .min_arguments = 0,
    .max_arguments = 0,
    .run = doctor_run,
};
