/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "replace.h"

#include <string.h>
#include <sys/file.h>

#include "command.h"
#include "convert.h"
#include "failures.h"
#include "image.h"
#include "import.h"
#include "podman.h"
#include "references.h"
#include "scratch.h"
#include "settings.h"
#include "source.h"
#include "util.h"

/* What the image is called while its names still lead to the old one: loading takes a name away
 * from whoever had it. */
#define REPLACE_NAME "localhost/nixstore-replace:%.12s"
#define REPLACE_LOCAL "localhost/"
/* In the cache. */
#define REPLACE_LOCK "convert.lock"

void
replacement_free(Replacement *replacement)
{
  if (!replacement)
    return;
  g_free(replacement->name);
  g_free(replacement->old_id);
  g_free(replacement->store_path);
  g_free(replacement->image_id);
  g_free(replacement->config_digest);
  g_free(replacement);
}

/* Whether a layer of @image is a reference; *ret_is_all: and its only one. */
static gboolean
stands_on_store(const PodmanImage *image, gboolean *ret_stands, gboolean *ret_is_all,
                GError **error)
{
  Reference *reference = NULL;
  if (!podman_image_reference(image, &reference, error))
    return FALSE;
  *ret_stands = reference != NULL;
  *ret_is_all = reference != NULL && image->diffs[1] == NULL;
  reference_free(reference);
  return TRUE;
}

static gboolean
check_replaceable(const PodmanImage *image, GError **error)
{
  if (!image->names[0])
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "the image %.12s has no name that could be given to another: give it one "
                      "with `podman tag'",
                      image->id);
  if (!image->diffs[0] || !podman_can_mount())
    return util_error(
        error, NIXSTORE_ERROR_UNSUPPORTED,
        "Podman's storage driver here is %s without a mount program, which cannot run "
        "images out of the Nix store: see nixstore-mount(8)",
        image->driver);
  return TRUE;
}

/* @image, which Podman has, as a path of the Nix store. */
static char *
convert_podman_image(const PodmanImage *image, const char *name, guint64 max_size,
                     AddHold **ret_hold, GError **error)
{
  Source named = {.reference = image->names[0]};
  g_autofree char *own_name = name ? g_strdup(name) : source_make_name(&named);
  g_autoptr(Scratch) scratch = scratch_new(error);
  g_autofree char *archive = scratch ? podman_save(image->id, scratch->path, error) : NULL;
  return archive ? convert_image(archive, own_name, max_size, ret_hold, error) : NULL;
}

/* Gives the image @id the names that @old has at this moment, and not those that a pull has given
 * to a newer image meanwhile. */
static gboolean
take_names(const char *old, const char *id, GError **error)
{
  g_autoptr(PodmanImage) image = podman_inspect_image(old, error);
  if (!image)
    return FALSE;
  g_autoptr(GPtrArray) arguments = g_ptr_array_new();
  g_ptr_array_add(arguments, (char *)"tag");
  g_ptr_array_add(arguments, (char *)id);
  for (char **name = image->names; *name; name++)
    g_ptr_array_add(arguments, *name);
  g_ptr_array_add(arguments, NULL);
  return !image->names[0] || podman_run((const char *const *)arguments->pdata, NULL, error);
}

static gboolean
replace_names(const char *old, const Import *import, GError **error)
{
  const char *untag[] = {"untag", import->image_id, import->name, NULL};
  scratch_hold_signals();
  gboolean ok = take_names(old, import->image_id, error) && podman_run(untag, NULL, error);
  scratch_release_signals();
  return ok;
}

/* What @image, which stands on the store, is already. */
static gboolean
replacement_fill(Replacement *result, const PodmanImage *image, GError **error)
{
  g_autofree char *path = references_trusted_path(image, result->name, error);
  g_autoptr(Image) opened = path ? image_open(path, error) : NULL;
  if (!opened)
    return FALSE;
  result->store_path = g_steal_pointer(&path);
  result->config_digest = g_strdup(opened->config_digest);
  result->image_id = g_strdup(image->id);
  return TRUE;
}

Replacement *
replace_image(const char *image, const char *name, guint64 max_size, GError **error)
{
  g_autoptr(Replacement) result = g_new0(Replacement, 1);
  g_autoptr(PodmanImage) old = podman_inspect_image(image, error);
  g_autoptr(AddHold) hold = NULL;
  gboolean stands, is_all, there;
  if (!old || !stands_on_store(old, &stands, &is_all, error))
    return NULL;
  result->name = g_strdup(old->names[0] ? old->names[0] : image);
  if (is_all)
    return replacement_fill(result, old, error) ? g_steal_pointer(&result) : NULL;
  result->old_id = g_strdup(old->id);
  if (!check_replaceable(old, error))
    return NULL;
  result->store_path = convert_podman_image(old, name, max_size, &hold, error);
  g_autofree char *aside = g_strdup_printf(REPLACE_NAME, old->id);
  g_autoptr(Import) import =
      result->store_path ? import_image(result->store_path, aside, error) : NULL;
  if (!import || !replace_names(old->id, import, error)) {
    /* Who has removed it may pull it again. */
    if (podman_has_image(old->id, &there, NULL) && there)
      failures_add(old->id, *error);
    g_prefix_error(error, "%s: ", image);
    return NULL;
  }
  failures_remove(old->id);
  result->image_id = g_strdup(import->image_id);
  result->config_digest = g_strdup(import->config_digest);
  return g_steal_pointer(&result);
}

int
replace_lock(GError **error)
{
  const Settings *settings = settings_get(error);

  if (!settings || !util_make_directory(settings->cache, 0755, error))
    return -1;
  g_autofree char *path = g_build_filename(settings->cache, REPLACE_LOCK, NULL);
  autofd int fd = open(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  while (fd < 0 || flock(fd, LOCK_EX) < 0) {
    if (fd >= 0 && errno == EINTR)
      continue;
    util_error_errno(error, "lock %s", path);
    return -1;
  }
  return util_steal_fd(&fd);
}

static gboolean
has_registry_name(const PodmanImage *image)
{
  for (char **name = image->names; *name; name++)
    if (!g_str_has_prefix(*name, REPLACE_LOCAL))
      return TRUE;
  return FALSE;
}

char **
replace_list_pulled(GError **error)
{
  /* One that went in the meantime is none that is missing. */
  g_autoptr(GPtrArray) left_out = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GPtrArray) images = references_list_images(left_out, error);
  if (!images)
    return NULL;
  g_autoptr(GStrvBuilder) pulled = g_strv_builder_new();
  for (guint i = 0; i < images->len; i++) {
    const PodmanImage *image = images->pdata[i];
    gboolean stands = TRUE, is_all;
    if (has_registry_name(image) && stands_on_store(image, &stands, &is_all, NULL) && !stands)
      g_strv_builder_add(pulled, image->id);
  }
  return g_strv_builder_end(pulled);
}
