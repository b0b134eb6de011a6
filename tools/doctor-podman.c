/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks of Podman's settings and of the images in its storage.
 */
#include "config.h"

#include "cache.h"
#include "doctor.h"
#include "podman.h"
#include "references.h"
#include "run.h"
#include "store.h"
#include "trust.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

/* What to do when Podman itself does not run. */
static char *
advise_podman(const char *message)
{
  if (strstr(message, "driver not supported"))
    return g_strdup("this Podman has not that storage driver built in: contrib/podman/build makes "
                    "one that has nixstore; or use overlay with nixstore-mount as mount_program");
  if (strstr(message, "can't stat program"))
    return g_strdup_printf("correct mount_program in storage.conf: %s",
                           PKGLIBEXECDIR "/nixstore-mount");
  if (strstr(message, "not found: install"))
    return g_strdup("install podman, or name it with --podman");
  return g_strdup("make `podman info' work first");
}

static void
check_mount_program(Doctor *doctor)
{
  const PodmanInfo *podman = doctor->podman;
  const char *program = podman->mount_program;
  const char *argv[] = {program, "--version", NULL};
  RunProgram version = {.argv = argv, .what = program, .hint = ""};
  g_autofree char *output = NULL;
  const char *source = podman->mount_program_source ? podman->mount_program_source : "storage.conf";
  if (access(program, X_OK) < 0) {
    doctor_add(doctor, DOCTOR_ERROR,
               g_strdup_printf("mount_program %s (of %s): %s", program, source, g_strerror(errno)),
               g_strdup_printf("chmod 755 %s, or set mount_program to %s/nixstore-mount", program,
                               PKGLIBEXECDIR));
    return;
  }
  gboolean ran = run_program(&version, &output, NULL);
  if (!ran || !g_str_has_prefix(output, "nixstore-mount "))
    doctor_add(doctor, DOCTOR_ERROR,
               g_strdup_printf("mount_program %s (of %s) is not nixstore-mount: it knows nothing "
                               "of store paths",
                               program, source),
               g_strdup_printf("set mount_program to %s/nixstore-mount", PKGLIBEXECDIR));
  else if (strcmp(g_strstrip(output) + strlen("nixstore-mount "), PACKAGE_VERSION) != 0)
    doctor_add(doctor, DOCTOR_WARNING,
               g_strdup_printf("mount_program %s is %s, this is nixstore %s", program, output,
                               PACKAGE_VERSION),
               g_strdup("install both from the same version"));
}

/* The stock driver, in one of its two forms. */
static void
check_overlay(Doctor *doctor)
{
  const PodmanInfo *podman = doctor->podman;
  if (!podman->mount_program) {
    doctor_add(doctor, DOCTOR_WARNING,
               g_strdup_printf("Podman's storage driver is %s without nixstore-mount: containers "
                               "of image paths do not start in %s",
                               podman->driver, podman->graph_root),
               g_strdup("give --storage-driver nixstore, if this Podman has it (`nixstore info'), "
                        "or set mount_program of [storage.options.overlay] in storage.conf"));
    return;
  }
  check_mount_program(doctor);
  if (podman->mountopt)
    doctor_add(doctor, DOCTOR_NOTE,
               g_strdup_printf("mountopt \"%s\" has no effect: Podman does not hand it to a "
                               "mount_program",
                               podman->mountopt),
               g_strdup("take it out of storage.conf, or use the storage driver nixstore"));
}

static void
check_configured_driver(Doctor *doctor)
{
  const PodmanInfo *podman = doctor->podman;
  if (!podman->configured_driver || podman_chooses_storage() || g_getenv("STORAGE_DRIVER") ||
      strcmp(podman->configured_driver, podman->driver) == 0)
    return;
  doctor_add(doctor, DOCTOR_WARNING,
             g_strdup_printf("%s asks for the storage driver %s, but %s is in use",
                             podman->config_file, podman->configured_driver, podman->driver),
             g_strdup_printf("%s was made with %s: give the driver another graphroot, or remove "
                             "all there is with `podman system reset'",
                             podman->graph_root, podman->driver));
}

void
doctor_check_podman(Doctor *doctor)
{
  g_autoptr(GError) error = NULL;
  doctor->podman = podman_info_new(&error);
  if (!doctor->podman) {
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message), advise_podman(error->message));
    return;
  }
  gboolean is_ours = strcmp(doctor->podman->driver, "nixstore") == 0;
  check_configured_driver(doctor);
  if (is_ours && doctor->podman->mount_program)
    check_mount_program(doctor);
  else if (!is_ours)
    check_overlay(doctor);
  if (atoi(doctor->podman->version) >= 5 && (is_ours || doctor->podman->mount_program))
    doctor_add(doctor, DOCTOR_NOTE,
               g_strdup("`podman system check' takes reference layers for modified ones, and its "
                        "--repair would remove their images"),
               g_strdup("do not let it --repair; `nixstore import' brings removed images back"));
}

static void
check_root(Doctor *doctor, const ImageReference *image)
{
  const char *path = image->reference->store_path;
  const char *name = podman_image_name(image->image);
  g_autofree char *link = podman_image_gc_link(image->image);
  g_autoptr(GError) error = NULL;
  if (!link || store_has_root(path, link))
    return;
  gboolean fixed = doctor->fix && store_add_root(path, link, &error);
  doctor_add(doctor, DOCTOR_WARNING,
             g_strdup_printf("%s has no GC root: the next `nix-store --gc' deletes %s", name, path),
             error   ? g_strdup_printf("it could not be made: %s", error->message)
             : fixed ? g_strdup_printf("made %s", link)
                     : g_strdup("`nixstore doctor --fix' makes it, and so does every mount"))
      ->is_fixed = fixed;
}

static void
check_image(Doctor *doctor, Cache *cache, const ImageReference *image)
{
  g_autoptr(GError) error = NULL;
  const char *path = image->reference->store_path;
  const char *name = podman_image_name(image->image);
  if (trust_check_reference(cache, image->reference, &error)) {
    check_root(doctor, image);
    return;
  }
  if (g_error_matches(error, NIXSTORE_ERROR, NIXSTORE_ERROR_NOT_FOUND))
    doctor_add(doctor, DOCTOR_ERROR,
               g_strdup_printf("%s: the Nix store does not have %s", name, path),
               g_strdup_printf("`nix-copy-closure --from HOST %s' or `nix copy --from STORE %s' "
                               "gets it; or `podman rmi %s'",
                               path, path, name));
  else
    doctor_add(doctor, DOCTOR_ERROR, g_strdup_printf("%s: %s", name, error->message),
               g_strdup_printf("do not trust this image: `podman rmi %s', and get it again from "
                               "where you know it",
                               name));
}

void
doctor_check_images(Doctor *doctor)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GPtrArray) left_out = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(Cache) cache = cache_open(NULL);
  if (!doctor->podman || !cache)
    return;
  g_autoptr(GPtrArray) images = references_list(left_out, &error);
  if (!images)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(error->message),
               g_strdup("make `podman images' work first"));
  for (guint i = 0; i < left_out->len; i++)
    doctor_add(doctor, DOCTOR_ERROR, g_strdup(left_out->pdata[i]),
               g_strdup("`podman rmi' the image, and load or import it again"));
  for (guint i = 0; images && i < images->len; i++)
    check_image(doctor, cache, images->pdata[i]);
}
