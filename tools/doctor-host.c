/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks of the kernel, its devices, the user's ids, the Nix store and the settings.
 */
#include "config.h"

#include "backend.h"
#include "cache.h"
#include "doctor.h"
#include "modes.h"
#include "output.h"
#include "settings.h"
#include "store.h"
#include "util.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

void
doctor_check_settings(Doctor *doctor)
{
  g_autoptr(GError) error = NULL;
  if (settings_get(&error))
    return;
  doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message),
             g_strdup("correct it as nixstore.conf(5) says: until then nothing of nixstore runs"));
}

void
doctor_check_store(Doctor *doctor)
{
  g_autoptr(GError) error = NULL;
  const char *store = store_directory();
  if (!settings_get(NULL))
    return;
  autofd int fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    doctor_add(doctor, DOCTOR_ERROR, g_strdup_printf("there is no Nix store at %s", store),
               g_strdup("`nix-store --init' makes one; or set store in nixstore.conf(5)"));
    return;
  }
  if (!cache_check_directory(fd, store, TRUE, &error))
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message),
               g_strdup_printf("chown root %s && chmod 1775 %s: what others could have changed is "
                               "not mounted",
                               store, store));
  g_clear_error(&error);
  g_autofree char *version = store_query_version(&error);
  if (!version)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message),
               g_strdup("make `nix-store --version' work for this user"));
}

static const char *
member(json_t *object, const char *name)
{
  return json_string_value(json_object_get(object, name));
}

/* The best mode, if it is not the one that is chosen: good to know for who expects it. */
static void
note_best_mode(Doctor *doctor, json_t *modes, json_t *chosen)
{
  json_t *best = json_array_get(modes, 0);
  if (best == chosen || !settings_process_is_root())
    return;
  doctor_add(
      doctor, DOCTOR_NOTE,
      g_strdup_printf("mode %s does not work: %s", member(best, "mode"), member(best, "reason")),
      g_strdup_printf("mounts use mode %s instead; nixstore-mount(8) says what each mode "
                      "needs",
                      member(chosen, "mode")));
}

/* "erofs: ...; fuse: ...": why each mode that does not work does not. */
static char *
describe_failures(json_t *modes)
{
  GString *reasons = g_string_new(NULL);
  gsize i;
  json_t *row;
  json_array_foreach(modes, i, row)
  {
    const char *reason = member(row, "reason");
    if (reason)
      g_string_append_printf(reasons, "%s%s: %s", reasons->len ? "; " : "", member(row, "mode"),
                             reason);
  }
  return g_string_free(reasons, FALSE);
}

/* Nothing can be mounted with the setting @mode. */
static void
complain_of_mode(Doctor *doctor, json_t *modes, const char *mode)
{
  g_autoptr(GError) unknown = NULL;
  g_autofree char *reasons = describe_failures(modes);
  if (strcmp(mode, "auto") == 0)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup_printf("mode auto does not work: %s", reasons),
               g_strdup("erofs needs root and Linux 6.5 with EROFS, fuse /dev/fuse: see "
                        "nixstore-mount(8)"));
  else if (!backend_find(mode, &unknown))
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(unknown->message),
               g_strdup("set mode=auto in nixstore.conf(5)"));
  else
    doctor_add(doctor, DOCTOR_ERROR, g_strdup_printf("mode %s does not work: %s", mode, reasons),
               g_strdup("set mode=auto in nixstore.conf(5), or one that `nixstore info' shows as "
                        "working"));
}

void
doctor_check_modes(Doctor *doctor)
{
  g_autoptr(GError) error = NULL;
  const Settings *settings = settings_get(NULL);
  if (!settings)
    return;
  g_autoptr(json_t) modes = modes_probe(&error);
  json_t *chosen = modes ? modes_choose(modes, settings->mode) : NULL;
  if (!modes)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message),
               g_strdup("nothing can be mounted like this; see `nixstore info'"));
  else if (!chosen)
    complain_of_mode(doctor, modes, settings->mode);
  else if (strcmp(settings->mode, "auto") == 0)
    note_best_mode(doctor, modes, chosen);
}

void
doctor_check_fuse(Doctor *doctor)
{
  struct stat st;
  const gboolean is_root = settings_process_is_root();
  if (stat("/dev/fuse", &st) < 0 || !S_ISCHR(st.st_mode)) {
    doctor_add(doctor, is_root ? DOCTOR_NOTE : DOCTOR_ERROR, g_strdup("there is no /dev/fuse"),
               g_strdup("modprobe fuse; mode fuse, the only one without root, needs it"));
    return;
  }
  /* A user may come by it through a group or an ACL; who else may, root cannot tell. */
  if (is_root ? (st.st_mode & 0006) != 0006
              : faccessat(AT_FDCWD, "/dev/fuse", R_OK | W_OK, AT_EACCESS) < 0)
    doctor_add(doctor, is_root ? DOCTOR_NOTE : DOCTOR_ERROR,
               g_strdup_printf("/dev/fuse has mode %04o: %s", st.st_mode & 0777,
                               !is_root ? "this user cannot use it"
                               : st.st_mode & S_IRWXG
                                   ? "users without its group or an ACL cannot use it"
                                   : "users cannot use it"),
               g_strdup("chmod 666 /dev/fuse, as distributions ship it; a udev rule keeps it so "
                        "(KERNEL==\"fuse\", MODE=\"0666\")"));
}

/* Whether @path (subuid(5)) has a range for the user called @name or with the number @uid. */
static gboolean
has_subids(const char *path, const char *name, uid_t uid)
{
  g_autofree char *text = NULL;
  g_autofree char *number = g_strdup_printf("%u", uid);
  if (!g_file_get_contents(path, &text, NULL, NULL))
    return FALSE;
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line; line++) {
    g_auto(GStrv) fields = g_strsplit(*line, ":", 3);
    if (g_strv_length(fields) == 3 && atol(fields[2]) > 0 &&
        (g_strcmp0(fields[0], name) == 0 || strcmp(fields[0], number) == 0))
      return TRUE;
  }
  return FALSE;
}

/* Where nsswitch.conf(5) has subordinate ids come from, if not from the files alone; else NULL. */
static char *
subid_source(void)
{
  g_autofree char *text = NULL;
  if (!g_file_get_contents("/etc/nsswitch.conf", &text, NULL, NULL))
    return NULL;
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line; line++) {
    char *start = g_strchug(*line);
    if (!g_str_has_prefix(start, "subid:"))
      continue;
    start += strlen("subid:");
    start[strcspn(start, "#")] = '\0';
    g_strstrip(start);
    return *start && strcmp(start, "files") != 0 ? g_strdup(start) : NULL;
  }
  return NULL;
}

/* Of such a source Podman's own user namespace tells, which is there for certain. */
static void
check_mapped(Doctor *doctor, const char *source)
{
  const PodmanInfo *podman = doctor->podman;
  if (!podman || !podman->is_rootless || (podman->n_uids > 1 && podman->n_gids > 1))
    return;
  doctor_add(doctor, DOCTOR_ERROR,
             g_strdup_printf("Podman has a single %s for its containers",
                             podman->n_uids > 1 ? "gid" : "uid"),
             g_strdup_printf("give this user ranges of subordinate ids in `%s', whence "
                             "/etc/nsswitch.conf has them come; then `podman system migrate'",
                             source));
}

void
doctor_check_subids(Doctor *doctor)
{
  static const char *const files[] = {"/etc/subuid", "/etc/subgid"};
  static const char *const programs[] = {"newuidmap", "newgidmap"};
  /* root needs none; within a user namespace it is too late to ask. */
  if (geteuid() == 0)
    return;
  const struct passwd *user = getpwuid(geteuid());
  g_autofree char *name =
      user ? g_strdup(user->pw_name) : g_strdup_printf("%u", (unsigned)geteuid());
  g_autofree char *source = subid_source();
  if (source)
    check_mapped(doctor, source);
  for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
    if (!source && !has_subids(files[i], name, geteuid()))
      doctor_add(doctor, DOCTOR_ERROR,
                 g_strdup_printf("%s has no range for %s: rootless containers have a single id",
                                 files[i], name),
                 g_strdup_printf("usermod --add-sub%sids 100000-165535 %s, or another free range; "
                                 "then `podman system migrate'",
                                 i == 0 ? "u" : "g", name));
  for (gsize i = 0; i < G_N_ELEMENTS(programs); i++) {
    g_autofree char *found = g_find_program_in_path(programs[i]);
    if (!found)
      doctor_add(doctor, DOCTOR_ERROR, g_strdup_printf("there is no program %s", programs[i]),
                 g_strdup("install uidmap (shadow-utils): rootless Podman needs it"));
  }
}
