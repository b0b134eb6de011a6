/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "replace-command.h"
#include "command.h"
#include "failures.h"
#include "follow.h"
#include "output.h"
#include "podman.h"
#include "replace.h"
#include "settings.h"
#include "util.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Of what follows pulls: whoever pulled has gone on. */
#define FOLLOW_NICE 10

static json_t *
replacement_to_json(const Replacement *result)
{
  json_t *object = output_path_json(result->store_path, result->config_digest);

  output_add_podman_image(object, result->name, result->image_id);
  json_object_set_new(object, "replaced",
                      result->old_id != NULL ? output_json_text(result->old_id) : json_null());
  return object;
}

/* With @objects (NULL: none) the result is appended there instead of printed. */
static gboolean
replace_one(const char *image, const ReplaceOptions *options, json_t *objects, GError **error)
{
  g_autoptr(Replacement) result = replace_image(image, options->name, options->max_size, error);

  if (result == NULL)
    return FALSE;
  if (result->old_id == NULL)
    command_note("%s stands on the Nix store already", result->name);
  else
    command_note("%s is %.12s now; `podman image prune' frees what the old image %.12s takes",
                 result->name, result->image_id, result->old_id);
  if (objects != NULL)
    json_array_append_new(objects, replacement_to_json(result));
  else
    printf("%s\n", result->store_path);
  return TRUE;
}

gboolean
replace_named(const char *image, const ReplaceOptions *options, GError **error)
{
  g_autoptr(json_t) objects = options->json ? json_array() : NULL;

  if (!replace_one(image, options, objects, error))
    return FALSE;
  if (options->json)
    output_json(json_array_get(objects, 0));
  return TRUE;
}

/* Whether @image was tried before, to no avail, which is said of it instead. Podman's list of
 * images changes also when one is loaded and then taken out again: whoever waits for that would try
 * for ever. */
static gboolean
skip_failed(const char *image)
{
  g_autofree char *reason = NULL;

  if (!failures_has(image, &reason))
    return FALSE;
  command_note("%.12s is left as it is, as it failed before (`nixstore convert --replace %.12s' "
               "tries again): %s",
               image, image, reason);
  return TRUE;
}

gboolean
replace_pulled(const ReplaceOptions *options, GError **error)
{
  autofd int lock = replace_lock(error);
  g_auto(GStrv) images = lock < 0 ? NULL : replace_list_pulled(error);
  g_autoptr(json_t) objects = options->json ? json_array() : NULL;
  guint failed = 0;

  for (char **image = images; image != NULL && *image != NULL; image++) {
    g_autoptr(GError) local = NULL;
    if (!skip_failed(*image) && !replace_one(*image, options, objects, &local)) {
      command_note("%s", local->message);
      failed++;
    }
  }
  if (options->json && images != NULL)
    output_json(objects);
  if (failed > 0)
    return util_error(error, NIXSTORE_ERROR_FAILED, "%u of %u images stay as they were", failed,
                      g_strv_length(images));
  return images != NULL;
}

static void
replace_changed(gpointer options)
{
  g_autoptr(GError) error = NULL;

  if (!replace_pulled(options, &error))
    command_note("%s", error->message);
}

gboolean
replace_follow(const ReplaceOptions *options, GError **error)
{
  ReplaceOptions copy = *options;
  const Settings *settings = settings_get(error);

  if (settings == NULL)
    return FALSE;
  if (strcmp(settings->convert, "pull") != 0)
    return TRUE;
  g_autofree char *list = podman_find_image_list(error);
  if (list == NULL)
    return FALSE;
  command_note_to_syslog();
  setpriority(PRIO_PROCESS, 0, FOLLOW_NICE);
  /* What we make ourselves is not to be followed. */
  g_setenv("NIXSTORE_CONVERT", "none", TRUE);
  return follow_file(list, replace_changed, &copy, error);
}
