/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "settings.h"
#include "util.h"

#include <string.h>

#define SETTINGS_GROUP "nixstore"
#define SETTINGS_MAX_SIZE (64 * 1024)
/* Shown by user namespaces in place of ids that they do not map (user_namespaces(7)). */
#define OVERFLOW_UID 65534
/* Of /proc/PID/ns/user, in every kernel (its include/linux/proc_ns.h, PROC_USER_INIT_INO). The
 * mapping tells less: another namespace may map every id to itself, as systemd-nspawn(1) has it. */
#define INITIAL_USERNS_INODE 0xeffffffdU

typedef enum {
  SETTINGS_TEXT,
  SETTINGS_PATH, /* must be absolute */
  SETTINGS_SIZE, /* as util_parse_size() reads it */
  SETTINGS_BOOLEAN,
  SETTINGS_SECONDS,
  SETTINGS_CONVERT,
} SettingsKind;

static const struct {
  const char *key;
  const char *environment;
  gsize offset;
  SettingsKind kind;
} settings_keys[] = {
    {"mode", "NIXSTORE_MODE", G_STRUCT_OFFSET(Settings, mode), SETTINGS_TEXT},
    {"store", "NIXSTORE_STORE", G_STRUCT_OFFSET(Settings, store), SETTINGS_PATH},
    {"cache", "NIXSTORE_CACHE", G_STRUCT_OFFSET(Settings, cache), SETTINGS_PATH},
    {"cache_limit", "NIXSTORE_CACHE_LIMIT", G_STRUCT_OFFSET(Settings, cache_limit), SETTINGS_SIZE},
    {"convert", "NIXSTORE_CONVERT", G_STRUCT_OFFSET(Settings, convert), SETTINGS_CONVERT},
    {"nix_store", "NIXSTORE_NIX_STORE", G_STRUCT_OFFSET(Settings, nix_store), SETTINGS_TEXT},
    {"substitute", "NIXSTORE_SUBSTITUTE", G_STRUCT_OFFSET(Settings, substitute), SETTINGS_BOOLEAN},
    {"substitute_timeout", "NIXSTORE_SUBSTITUTE_TIMEOUT",
     G_STRUCT_OFFSET(Settings, substitute_timeout), SETTINGS_SECONDS},
    {"fuse_passthrough", "NIXSTORE_FUSE_PASSTHROUGH", G_STRUCT_OFFSET(Settings, fuse_passthrough),
     SETTINGS_BOOLEAN},
};

/* Where each value comes from; as long-lived as the settings. */
static char *settings_sources[G_N_ELEMENTS(settings_keys)];

gboolean
settings_process_is_root(void)
{
  struct stat st;

  return geteuid() == 0 &&
         (stat("/proc/self/ns/user", &st) < 0 || st.st_ino == INITIAL_USERNS_INODE);
}

gboolean
settings_owner_is_trusted(uid_t owner)
{
  if (settings_process_is_root())
    return owner == 0;
  return owner == 0 || owner == geteuid() || owner == OVERFLOW_UID;
}

/* What a value of @kind must be; NULL: @value is that. */
static const char *
settings_expect(SettingsKind kind, const char *value)
{
  guint64 size;

  switch (kind) {
  case SETTINGS_TEXT:
    return NULL;
  case SETTINGS_PATH:
    return *value == '/' ? NULL : "an absolute path";
  case SETTINGS_SIZE:
    return util_parse_size(value, &size) ? NULL : "a number of bytes, perhaps with K, M, G or T";
  case SETTINGS_BOOLEAN:
    return g_str_equal(value, "true") || g_str_equal(value, "false") ? NULL : "true or false";
  case SETTINGS_SECONDS:
    return g_ascii_string_to_unsigned(value, 10, 1, G_MAXINT, NULL, NULL) ? NULL
                                                                          : "a number of seconds";
  case SETTINGS_CONVERT:
    return g_str_equal(value, "none") || g_str_equal(value, "pull") ? NULL : "none or pull";
  }
  g_return_val_if_reached(NULL);
}

static gboolean
settings_set(Settings *settings, gsize i, const char *value, const char *where, GError **error)
{
  char **field = G_STRUCT_MEMBER_P(settings, settings_keys[i].offset);
  if (*value == '\0')
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s: %s is empty", where,
                      settings_keys[i].key);
  const char *expected = settings_expect(settings_keys[i].kind, value);
  if (expected)
    return util_error(error, NIXSTORE_ERROR_INVALID, "%s: %s must be %s, not `%s'", where,
                      settings_keys[i].key, expected, value);
  g_free(*field);
  *field = g_strdup(value);
  g_free(settings_sources[i]);
  settings_sources[i] = g_strdup(where);
  /* A path is compared as text with store paths: "/nix/store/" is "/nix/store". */
  for (gsize n = strlen(*field);
       settings_keys[i].kind == SETTINGS_PATH && n > 1 && (*field)[n - 1] == '/'; n--)
    (*field)[n - 1] = '\0';
  return TRUE;
}

static gboolean
settings_set_key(Settings *settings, GKeyFile *file, const char *key, const char *path,
                 GError **error)
{
  g_autofree char *value = g_key_file_get_string(file, SETTINGS_GROUP, key, error);
  if (!value) {
    g_prefix_error(error, "%s: ", path);
    return FALSE;
  }
  for (gsize i = 0; i < G_N_ELEMENTS(settings_keys); i++)
    if (strcmp(key, settings_keys[i].key) == 0)
      return settings_set(settings, i, g_strchomp(value), path, error);
  return util_error(error, NIXSTORE_ERROR_INVALID, "%s: unknown key `%s'", path, key);
}

static gboolean
settings_parse(Settings *settings, const char *text, gsize size, const char *path, GError **error)
{
  g_autoptr(GKeyFile) file = g_key_file_new();
  if (size == 0)
    return TRUE;
  if (!g_key_file_load_from_data(file, text, size, G_KEY_FILE_NONE, error)) {
    g_prefix_error(error, "%s: ", path);
    return FALSE;
  }
  g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
  for (char **group = groups; *group; group++)
    if (strcmp(*group, SETTINGS_GROUP) != 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "%s: unknown group [%s]", path, *group);
  g_auto(GStrv) keys = g_key_file_get_keys(file, SETTINGS_GROUP, NULL, NULL);
  for (char **key = keys; key && *key; key++)
    if (!settings_set_key(settings, file, *key, path, error))
      return FALSE;
  return TRUE;
}

/* A missing file is success. */
static gboolean
settings_read_file(Settings *settings, const char *path, GError **error)
{
  autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;
  if (fd < 0)
    return errno == ENOENT || errno == ENOTDIR || util_error_errno(error, "open %s", path);
  if (fstat(fd, &st) < 0)
    return util_error_errno(error, "look at %s", path);
  if (!settings_owner_is_trusted(st.st_uid) || (st.st_mode & (S_IWGRP | S_IWOTH)))
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED,
                      "%s: refused, others may write it: chown it to %s and chmod it to 0644", path,
                      settings_process_is_root() ? "root" : "root or yourself");
  gsize size;
  g_autofree char *text = util_read_all(fd, SETTINGS_MAX_SIZE, path, &size, error);
  return text && settings_parse(settings, text, size, path, error);
}

static void
settings_free(Settings *settings)
{
  for (gsize i = 0; i < G_N_ELEMENTS(settings_keys); i++)
    g_free(G_STRUCT_MEMBER(char *, settings, settings_keys[i].offset));
  g_free(settings);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Settings, settings_free)

static Settings *
settings_read(GError **error)
{
  g_autoptr(Settings) settings = g_new0(Settings, 1);
  g_autofree char *user_file =
      g_build_filename(g_get_user_config_dir(), "nixstore", "nixstore.conf", NULL);

  settings->mode = g_strdup("auto");
  settings->nix_store = g_strdup("nix-store");
  settings->substitute = g_strdup("false");
  settings->substitute_timeout = g_strdup("300");
  settings->fuse_passthrough = g_strdup("false");
  settings->convert = g_strdup("none");
  settings->cache_limit = g_strdup("8G");
  settings->cache = settings_process_is_root()
                        ? g_strdup(LOCALSTATEDIR "/cache/nixstore")
                        : g_build_filename(g_get_user_cache_dir(), "nixstore", NULL);
  if (!settings_read_file(settings, SYSCONFDIR "/nixstore.conf", error) ||
      !settings_read_file(settings, user_file, error))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS(settings_keys); i++) {
    const char *value = g_getenv(settings_keys[i].environment);
    if (value && *value && !settings_set(settings, i, value, settings_keys[i].environment, error))
      return NULL;
  }
  return g_steal_pointer(&settings);
}

const Settings *
settings_get(GError **error)
{
  static GMutex lock;
  static Settings *settings;

  g_mutex_lock(&lock);
  if (!settings)
    settings = settings_read(error);
  const Settings *result = settings;
  g_mutex_unlock(&lock);
  return result;
}

gboolean
settings_describe(guint i, SettingsEntry *ret_entry)
{
  const Settings *settings = settings_get(NULL);

  if (!settings || i >= G_N_ELEMENTS(settings_keys))
    return FALSE;
  ret_entry->key = settings_keys[i].key;
  ret_entry->value = G_STRUCT_MEMBER(char *, settings, settings_keys[i].offset);
  ret_entry->source = settings_sources[i] ? settings_sources[i] : "default";
  return TRUE;
}
