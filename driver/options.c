/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "options.h"

#include <string.h>
#include <sys/mount.h>

#include "idmap.h"
#include "util.h"

/* A backslash before anything else is a backslash: containers/storage escapes colons alone. */
static gboolean
options_is_escape(const char *p)
{
  return p[0] == '\\' && p[1] && strchr(":,\"\\", p[1]);
}

/* The next item up to an unquoted comma, taken off *@cursor. Quotes and backslashes are kept. */
static char *
options_next_item(const char **cursor)
{
  const char *start = *cursor;
  const char *p = start;
  gboolean quoted = FALSE;

  for (; *p && (quoted || *p != ','); p++) {
    if (*p == '"')
      quoted = !quoted;
    else if (options_is_escape(p))
      p++;
  }
  *cursor = *p ? p + 1 : p;
  return g_strndup(start, (gsize)(p - start));
}

/* The text that @value of @size bytes stands for: quotes and backslashes taken off. */
static char *
options_unescape(const char *value, gsize size)
{
  GString *text = g_string_sized_new(size);

  for (gsize i = 0; i < size; i++) {
    if (value[i] == '"')
      continue;
    if (i + 1 < size && options_is_escape(value + i))
      i++;
    g_string_append_c(text, value[i]);
  }
  return g_string_free(text, FALSE);
}

static gboolean
options_set_text(char **field, const char *value)
{
  g_free(*field);
  *field = options_unescape(value, strlen(value));
  return TRUE;
}

static gboolean
options_set_lowers(MountOptions *options, const char *value, GError **error)
{
  g_autoptr(GPtrArray) lowers = g_ptr_array_new_with_free_func(g_free);
  const char *p = value;

  while (*p) {
    const char *start = p;
    for (; *p && *p != ':'; p++)
      if (options_is_escape(p))
        p++;
    if (p > start)
      g_ptr_array_add(lowers, options_unescape(start, (gsize)(p - start)));
    if (*p)
      p++;
  }
  if (lowers->len > OPTIONS_MAX_LOWERS)
    return util_error(error, NIXSTORE_ERROR_INVALID, "more than %d lower directories",
                      OPTIONS_MAX_LOWERS);
  g_ptr_array_add(lowers, NULL);
  g_strfreev(options->lowers);
  options->lowers = (char **)g_ptr_array_free(g_steal_pointer(&lowers), FALSE);
  return TRUE;
}

static gboolean
options_set_mapping(GArray **field, const char *value, GError **error)
{
  GArray *ranges = NULL;

  if (!idmap_parse(value, &ranges, error))
    return FALSE;
  g_clear_pointer(field, g_array_unref);
  *field = ranges;
  return TRUE;
}

/* Words without a value: mount attributes (mount_setattr(2)), or nothing to us because overlayfs
 * does it anyhow or containers/storage means it for FUSE. */
static const struct {
  const char *word;
  guint64 set, clear;
} options_words[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, 0},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"relatime", 0, MOUNT_ATTR_NOATIME},
    {"private", 0, 0},
    {"rprivate", 0, 0},
    {"metacopy=off", 0, 0},
    {"redirect_dir=off", 0, 0},
    {"index=off", 0, 0},
    {"xino=on", 0, 0},
    {"xino=auto", 0, 0},
    {"fsync=0", 0, 0},
    {"fsync=1", 0, 0},
    {"noacl", 0, 0},
    {"static_nlink", 0, 0},
};

static gboolean
options_apply_word(MountOptions *options, const char *item, GError **error)
{
  if (strcmp(item, "volatile") == 0) {
    options->is_volatile = TRUE;
    return TRUE;
  }
  for (gsize i = 0; i < G_N_ELEMENTS(options_words); i++) {
    if (strcmp(item, options_words[i].word) != 0)
      continue;
    options->attributes &= ~options_words[i].clear;
    options->attributes |= options_words[i].set;
    return TRUE;
  }
  g_autofree char *text = util_escape(item);
  if (g_str_has_prefix(item, "squash_to_"))
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "mapping all ids to a single one (%s) is not supported: give the container a "
                      "mapping of more than one id",
                      text);
  return util_error(error, NIXSTORE_ERROR_INVALID, "unknown mount option \"%s\"", text);
}

static gboolean
options_apply_item(MountOptions *options, const char *item, GError **error)
{
  const char *value = strchr(item, '=');
  gsize size = value ? (gsize)(value++ - item) : 0;

#define OPTIONS_NAMED(name) (value && size == strlen(name) && memcmp(item, name, size) == 0)
  if (OPTIONS_NAMED("lowerdir"))
    return options_set_lowers(options, value, error);
  if (OPTIONS_NAMED("upperdir"))
    return options_set_text(&options->upper, value);
  if (OPTIONS_NAMED("workdir"))
    return options_set_text(&options->work, value);
  if (OPTIONS_NAMED("uidmapping"))
    return options_set_mapping(&options->uids, value, error);
  if (OPTIONS_NAMED("gidmapping"))
    return options_set_mapping(&options->gids, value, error);
  if (OPTIONS_NAMED("context"))
    return options_set_text(&options->context, value);
#undef OPTIONS_NAMED
  return options_apply_word(options, item, error);
}

static gboolean
options_check(MountOptions *options, GError **error)
{
  if (!options->lowers || !options->lowers[0])
    return util_error(error, NIXSTORE_ERROR_INVALID, "no lowerdir given");
  if (options->upper && !*options->upper)
    g_clear_pointer(&options->upper, g_free);
  if (options->work && !*options->work)
    g_clear_pointer(&options->work, g_free);
  if (options->context && !*options->context)
    g_clear_pointer(&options->context, g_free);
  if (!options->upper != !options->work)
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s given without %s",
                      options->upper ? "upperdir" : "workdir",
                      options->upper ? "workdir" : "upperdir");
  if (!options->uids != !options->gids)
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s given without %s",
                      options->uids ? "uidmapping" : "gidmapping",
                      options->uids ? "gidmapping" : "uidmapping");
  return TRUE;
}

MountOptions *
options_parse(const char *text, GError **error)
{
  g_autoptr(MountOptions) options = g_new0(MountOptions, 1);
  const char *cursor = text;

  while (*cursor) {
    g_autofree char *item = options_next_item(&cursor);
    if (*item && !options_apply_item(options, item, error))
      return NULL;
  }
  if (!options_check(options, error))
    return NULL;
  return g_steal_pointer(&options);
}

void
options_free(MountOptions *options)
{
  if (!options)
    return;
  g_strfreev(options->lowers);
  g_free(options->upper);
  g_free(options->work);
  g_free(options->context);
  g_clear_pointer(&options->uids, g_array_unref);
  g_clear_pointer(&options->gids, g_array_unref);
  g_free(options);
}
