/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "store.h"
#include "settings.h"
#include "util.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define DEFAULT_STORE "/nix/store"
/* Nix's base32 has no e, o, t, u. A path's hash is 160 bits long. */
#define BASE32 "0123456789abcdfghijklmnpqrsvwxyz"
#define STORE_HASH_SIZE 32
#define STORE_NAME_MAX 211
#define NAR_HASH_PREFIX "sha256:"
#define NAR_HASH_SIZE 52

const char *
store_directory(void)
{
  static char *directory;
  if (g_once_init_enter(&directory)) {
    const Settings *settings = settings_get(NULL);
    const char *named = settings && settings->store ? settings->store : g_getenv("NIX_STORE_DIR");
    char *result = g_strdup(named && *named == '/' ? named : DEFAULT_STORE);
    for (gsize n = strlen(result); n > 1 && result[n - 1] == '/'; n--)
      result[n - 1] = '\0';
    g_once_init_leave(&directory, result);
  }
  return directory;
}

gboolean
store_name_is_valid(const char *name)
{
  gsize size = strlen(name);
  if (size < 1 || size > STORE_NAME_MAX || *name == '.')
    return FALSE;
  for (const char *c = name; *c; c++)
    if (!g_ascii_isalnum(*c) && !strchr("+-._?=", *c))
      return FALSE;
  return TRUE;
}

gboolean
store_path_check(const char *path, GError **error)
{
  const char *store = store_directory();
  gsize size = strlen(store);
  if (strncmp(path, store, size) != 0 || path[size] != '/')
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED, "%s is not in the Nix store %s", path,
                      store);
  const char *hash = path + size + 1;
  if (strspn(hash, BASE32) < STORE_HASH_SIZE || hash[STORE_HASH_SIZE] != '-' ||
      !store_name_is_valid(hash + STORE_HASH_SIZE + 1))
    return util_error(error, NIXSTORE_ERROR_UNTRUSTED,
                      "%s is not a path of the Nix store: %s/HASH-NAME is", path, store);
  return TRUE;
}

const char *
store_path_name(const char *path)
{
  return path + strlen(store_directory()) + 1 + STORE_HASH_SIZE + 1;
}

/* Our caller may have blocked signals for threads of its own; and Nix should not outlive it, nor
 * @seconds (0: for ever): the alarm stays set in the program that is run. */
static void
child_setup(gpointer seconds)
{
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  alarm(GPOINTER_TO_UINT(seconds));
}

/* @text without terminal colours (ECMA-48 control sequences), which Nix prints into pipes as well.
 */
static char *
strip_colours(const char *text)
{
  GString *plain = g_string_new(NULL);
  while (*text) {
    if (text[0] == '\033' && text[1] == '[') {
      text += 2;
      while (*text && (*text < '@' || *text > '~'))
        text++;
      text += *text != '\0';
    } else {
      g_string_append_c(plain, *text++);
    }
  }
  return g_string_free(plain, FALSE);
}

/* Nix's last line that says "error:", or its last line: after the error it prints hints. */
char *
store_message(const char *text)
{
  g_autofree char *plain = strip_colours(text ? text : "");
  g_auto(GStrv) lines = g_strsplit(plain, "\n", -1);
  const char *last = NULL;
  for (guint i = g_strv_length(lines); i-- > 0;) {
    const char *line = g_strstrip(lines[i]);
    if (g_str_has_prefix(line, "error:") && line[6] != '\0')
      return g_strdup(g_strchug(lines[i] + strlen("error:")));
    if (!last && *line)
      last = line;
  }
  return g_strdup(last ? last : "no message");
}

static gboolean
nix_spawn(const char *const *arguments, guint seconds, char **ret_output, char **ret_errors,
          int *ret_status, GError **error)
{
  const Settings *settings = settings_get(error);
  if (!settings)
    return FALSE;
  g_autoptr(GError) local = NULL;
  g_autoptr(GPtrArray) argv = g_ptr_array_new();
  g_ptr_array_add(argv, settings->nix_store);
  for (; *arguments; arguments++)
    g_ptr_array_add(argv, (char *)*arguments);
  g_ptr_array_add(argv, NULL);
  if (g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, child_setup,
                   GUINT_TO_POINTER(seconds), ret_output, ret_errors, ret_status, &local))
    return TRUE;
  if (g_error_matches(local, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
    return util_error(error, NIXSTORE_ERROR_NOT_FOUND,
                      "%s: not found: install nix-bin, or set nix_store in %s/nixstore.conf",
                      settings->nix_store, SYSCONFDIR);
  return util_error(error, NIXSTORE_ERROR_FAILED, "run %s: %s", settings->nix_store,
                    local->message);
}

/* Runs nix-store with @arguments. @what ("query the hash of /nix/store/...") leads the error. */
static char *
nix_run(const char *const *arguments, const char *path, const char *what, GError **error)
{
  g_autofree char *output = NULL;
  g_autofree char *errors = NULL;
  int status;
  if (!nix_spawn(arguments, 0, &output, &errors, &status, error))
    return NULL;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return g_strstrip(g_steal_pointer(&output));

  g_autofree char *message = store_message(errors);
  if (WIFSIGNALED(status))
    util_error(error, NIXSTORE_ERROR_FAILED, "%s %s: nix-store was ended by signal %d (%s)", what,
               path, WTERMSIG(status), g_strsignal(WTERMSIG(status)));
  else if (strstr(message, "is not valid"))
    util_error(
        error, NIXSTORE_ERROR_NOT_FOUND,
        "the Nix store does not have %s: fetch it, as with `nix-copy-closure --from HOST %s'", path,
        path);
  else
    util_error(error,
               strstr(message, "was modified") ? NIXSTORE_ERROR_INVALID : NIXSTORE_ERROR_FAILED,
               "%s %s: nix-store: %s", what, path, message);
  return NULL;
}

gboolean
store_hash_is_valid(const char *hash)
{
  return g_str_has_prefix(hash, NAR_HASH_PREFIX) &&
         strlen(hash) == strlen(NAR_HASH_PREFIX) + NAR_HASH_SIZE &&
         strspn(hash + strlen(NAR_HASH_PREFIX), BASE32) == NAR_HASH_SIZE;
}

char *
store_query_hash(const char *path, GError **error)
{
  const char *arguments[] = {"--query", "--hash", path, NULL};
  if (!store_path_check(path, error))
    return NULL;
  g_autofree char *hash = nix_run(arguments, path, "query the hash of", error);
  if (!hash)
    return NULL;
  if (!store_hash_is_valid(hash)) {
    util_error(error, NIXSTORE_ERROR_FAILED, "query the hash of %s: nix-store answers `%s'", path,
               hash);
    return NULL;
  }
  return g_steal_pointer(&hash);
}

gboolean
store_query_sizes(const char *const *paths, guint64 *ret_sizes, GError **error)
{
  g_autoptr(GPtrArray) arguments = g_ptr_array_new();
  g_ptr_array_add(arguments, (char *)"--query");
  g_ptr_array_add(arguments, (char *)"--size");
  for (const char *const *path = paths; *path; path++) {
    if (!store_path_check(*path, error))
      return FALSE;
    g_ptr_array_add(arguments, (char *)*path);
  }
  g_ptr_array_add(arguments, NULL);
  gsize n = arguments->len - 3;
  if (n == 0)
    return TRUE;
  g_autofree char *output =
      nix_run((const char *const *)arguments->pdata, paths[0], "query the size of", error);
  if (!output)
    return FALSE;
  g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
  g_autofree guint64 *sizes = g_new(guint64, n);
  gboolean ok = g_strv_length(lines) == n;
  for (gsize i = 0; ok && i < n; i++)
    ok = g_ascii_string_to_unsigned(lines[i], 10, 0, G_MAXUINT64, &sizes[i], NULL);
  if (!ok)
    return util_error(error, NIXSTORE_ERROR_FAILED, "query the size of %s: nix-store answers `%s'",
                      paths[0], output);
  memcpy(ret_sizes, sizes, n * sizeof *sizes);
  return TRUE;
}

gboolean
store_query_size(const char *path, guint64 *ret_size, GError **error)
{
  const char *paths[] = {path, NULL};
  return store_query_sizes(paths, ret_size, error);
}

char *
store_query_version(GError **error)
{
  const char *arguments[] = {"--version", NULL};
  return nix_run(arguments, "nix-store", "ask for the version of", error);
}

char *
store_add(const char *source, GError **error)
{
  const char *arguments[] = {"--add", source, NULL};
  g_autofree char *name = g_path_get_basename(source);
  if (*source != '/' || !store_name_is_valid(name)) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "add %s to the Nix store: a name there has 1 to %d letters, digits and +-._?=, and "
               "does not start with `.'",
               source, STORE_NAME_MAX);
    return NULL;
  }
  g_autofree char *path = nix_run(arguments, source, "add to the Nix store", error);
  if (!path)
    return NULL;
  if (!store_path_check(path, error)) {
    g_prefix_error(error, "add %s to the Nix store: nix-store's answer: ", source);
    return NULL;
  }
  return g_steal_pointer(&path);
}

gboolean
store_verify(const char *path, GError **error)
{
  const char *arguments[] = {"--verify-path", path, NULL};
  if (!store_path_check(path, error))
    return FALSE;
  g_autofree char *output = nix_run(arguments, path, "verify", error);
  return output != NULL;
}

/* Nix's base32 (its src/libutil/hash.cc): digits from the most significant on, bits from the end.
 */
static char *
base32_encode(const guint8 *data, gsize size)
{
  gsize length = (size * 8 - 1) / 5 + 1;
  char *text = g_malloc(length + 1);
  for (gsize i = 0; i < length; i++) {
    gsize bit = (length - 1 - i) * 5;
    guint digit = data[bit / 8] >> (bit % 8);
    if (bit / 8 + 1 < size)
      digit |= (guint)data[bit / 8 + 1] << (8 - bit % 8);
    text[i] = BASE32[digit & 31];
  }
  text[length] = '\0';
  return text;
}

/* Where the store registers indirect roots. A guess where the state directory was configured
 * otherwise. */
static char *
auto_root_directory(void)
{
  g_autofree char *parent = g_path_get_dirname(store_directory());
  const char *state = g_getenv("NIX_STATE_DIR");
  return state && *state == '/' ? g_build_filename(state, "gcroots/auto", NULL)
                                : g_build_filename(parent, "var/nix/gcroots/auto", NULL);
}

/* What the indirect root @link is called there: the base32 of its SHA-1
 * (LocalStore::addIndirectRoot). */
static char *
auto_root_path(const char *link)
{
  guint8 digest[20];
  gsize size = sizeof digest;
  g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA1);
  g_checksum_update(checksum, (const guchar *)link, -1);
  g_checksum_get_digest(checksum, digest, &size);
  g_autofree char *name = base32_encode(digest, size);
  g_autofree char *directory = auto_root_directory();
  return g_build_filename(directory, name, NULL);
}

static gboolean
link_leads_to(const char *link, const char *target)
{
  g_autofree char *found = g_file_read_link(link, NULL);
  return found && strcmp(found, target) == 0;
}

static void
sync_parent(const char *path)
{
  g_autofree char *parent = g_path_get_dirname(path);
  autofd int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0)
    fsync(fd);
}

/* The two links that an indirect root is made of. */
static void
sync_root(const char *link)
{
  g_autofree char *registered = auto_root_path(link);
  sync_parent(link);
  sync_parent(registered);
}

static gboolean
flush_file_system(const char *path, GError **error)
{
  autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || syncfs(fd) < 0)
    return util_error_errno(error, "write the file system of %s to the disk", path);
  return TRUE;
}

gboolean
store_flush(const char *path, GError **error)
{
  struct stat files, books;
  g_autofree char *state = auto_root_directory();
  if (!flush_file_system(path, error))
    return FALSE;
  if (stat(path, &files) < 0 || stat(state, &books) < 0)
    return util_error_errno(error, "look at %s and %s", path, state);
  return files.st_dev == books.st_dev || flush_file_system(state, error);
}

gboolean
store_has_root(const char *path, const char *link)
{
  g_autofree char *registered = auto_root_path(link);
  return link_leads_to(link, path) && link_leads_to(registered, link);
}

gboolean
store_add_root(const char *path, const char *link, GError **error)
{
  /* A path that is gone is an error here, never a reason to go and look for it on the network. */
  const char *arguments[] = {"--realise", path,         "--add-root", link, "--indirect",
                             "--option",  "substitute", "false",      NULL};
  if (!store_path_check(path, error))
    return FALSE;
  if (*link != '/')
    return util_error(error, NIXSTORE_ERROR_INVALID, "make the GC root %s: not an absolute path",
                      link);
  if (store_has_root(path, link))
    return TRUE;
  g_autofree char *output = nix_run(arguments, path, "make a GC root for", error);
  if (!output) {
    g_prefix_error(error, "%s: ", link);
    return FALSE;
  }
  sync_root(link);
  return TRUE;
}

gboolean
store_substitute(const char *path, const char *link, GError **error)
{
  /* A cache that did not have the path a minute ago may have it now. */
  const char *arguments[] = {
      "--realise", path,       "--add-root",      link, "--indirect", "--max-jobs",
      "0",         "--option", "connect-timeout", "10", "--option",   "narinfo-cache-negative-ttl",
      "0",         NULL};
  const Settings *settings = settings_get(error);
  g_autofree char *output = NULL;
  g_autofree char *errors = NULL;
  guint64 seconds = 0;
  int status;
  if (!settings || !store_path_check(path, error))
    return FALSE;
  g_ascii_string_to_unsigned(settings->substitute_timeout, 10, 1, G_MAXINT, &seconds, NULL);
  if (!nix_spawn(arguments, (guint)seconds, &output, &errors, &status, error))
    return FALSE;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    sync_root(link);
    return TRUE;
  }
  unlink(link);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    return util_error(error, NIXSTORE_ERROR_FAILED,
                      "fetch %s: not done after %u seconds (substitute_timeout): fetch it, as with "
                      "`nix-copy-closure --from HOST %s'",
                      path, (guint)seconds, path);
  g_autofree char *message = store_message(errors);
  return util_error(error, NIXSTORE_ERROR_NOT_FOUND,
                    "the image's files are not to be had: %s is neither in the Nix store nor can "
                    "Nix fetch it from its substituters (%s): copy it, as with `nix-copy-closure "
                    "--from HOST %s'",
                    path, message, path);
}

void
store_remove_root(const char *link)
{
  g_autofree char *registered = auto_root_path(link);
  if (link_leads_to(registered, link))
    unlink(registered);
  unlink(link);
}

static void
store_root_free(StoreRoot *root)
{
  g_free(root->registered);
  g_free(root->link);
  g_free(root->path);
  g_free(root);
}

GPtrArray *
store_list_roots(GError **error)
{
  g_autofree char *directory = auto_root_directory();
  g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
  const char *name;
  if (!dir) {
    util_error_errno(error, "read the GC roots in %s", directory);
    return NULL;
  }
  GPtrArray *roots = g_ptr_array_new_with_free_func((GDestroyNotify)store_root_free);
  while ((name = g_dir_read_name(dir))) {
    g_autofree char *registered = g_build_filename(directory, name, NULL);
    g_autofree char *link = g_file_read_link(registered, NULL);
    struct stat st;
    if (!link)
      continue;
    StoreRoot *root = g_new0(StoreRoot, 1);
    root->path = g_file_read_link(link, NULL);
    root->is_dangling = lstat(link, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
    root->registered = g_steal_pointer(&registered);
    root->link = g_steal_pointer(&link);
    g_ptr_array_add(roots, root);
  }
  return roots;
}
