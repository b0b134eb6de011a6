/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "reference.h"
#include "store.h"
#include "util.h"

#include <jansson.h>
#include <linux/openat2.h>

void
reference_free(Reference *reference)
{
  if (!reference)
    return;
  g_free(reference->store_path);
  g_free(reference->nar_hash);
  g_free(reference->manifest_digest);
  g_free(reference);
}

/* The member @name of @object as a string, which is the object's; NULL with @error. */
static const char *
get_string(json_t *object, const char *name, GError **error)
{
  const char *text = json_string_value(json_object_get(object, name));
  if (!text)
    util_error(error, NIXSTORE_ERROR_INVALID, "reference: `%s' is missing or no string", name);
  return text;
}

static Reference *
reference_from_json(json_t *object, GError **error)
{
  if (!json_is_object(object)) {
    util_error(error, NIXSTORE_ERROR_INVALID, "reference: not a JSON object");
    return NULL;
  }
  json_t *version = json_object_get(object, "version");
  if (!json_is_integer(version) || json_integer_value(version) != REFERENCE_VERSION) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "reference: its version is not %d, the one that this nixstore knows",
               REFERENCE_VERSION);
    return NULL;
  }
  const char *store_path = get_string(object, "storePath", error);
  const char *nar_hash = store_path ? get_string(object, "narHash", error) : NULL;
  const char *digest = nar_hash ? get_string(object, "manifestDigest", error) : NULL;
  if (!digest || !store_path_check(store_path, error))
    return NULL;
  if (!store_hash_is_valid(nar_hash)) {
    util_error(error, NIXSTORE_ERROR_INVALID, "reference: narHash is `%s', not sha256:<base32>",
               nar_hash);
    return NULL;
  }
  if (!util_digest_is_valid(digest)) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "reference: manifestDigest is `%s', not sha256:<hexadecimal>", digest);
    return NULL;
  }
  Reference *reference = g_new0(Reference, 1);
  reference->store_path = g_strdup(store_path);
  reference->nar_hash = g_strdup(nar_hash);
  reference->manifest_digest = g_strdup(digest);
  return reference;
}

Reference *
reference_parse(const char *text, gsize size, GError **error)
{
  json_error_t problem;
  if (size > REFERENCE_MAX_SIZE) {
    util_error(error, NIXSTORE_ERROR_INVALID, "reference: more than %d bytes", REFERENCE_MAX_SIZE);
    return NULL;
  }
  json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
  if (!object) {
    util_error(error, NIXSTORE_ERROR_INVALID, "reference: line %d: %s", problem.line, problem.text);
    return NULL;
  }
  Reference *reference = reference_from_json(object, error);
  json_decref(object);
  return reference;
}

/* Opens the reference below @layer_fd if it is a regular file of a fitting size; -1 with errno, 0
 * for a file that is something else. */
static int
reference_open(int layer_fd)
{
  const guint64 resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  struct stat st;
  /* To open a device node may have effects, to open a FIFO may wait: look first. */
  autofd int seen = util_openat2(layer_fd, REFERENCE_PATH, O_PATH | O_NOFOLLOW, 0, resolve);
  if (seen < 0)
    return -1;
  if (fstat(seen, &st) < 0)
    return -1;
  errno = 0;
  if (!S_ISREG(st.st_mode) || st.st_size > REFERENCE_MAX_SIZE)
    return -1;
  return util_openat2(layer_fd, REFERENCE_PATH, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, resolve);
}

gboolean
reference_read(int layer_fd, Reference **ret_reference, GError **error)
{
  autofd int fd = reference_open(layer_fd);
  if (fd < 0) {
    if (errno != 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EXDEV)
      return util_error_errno(error, "open %s of a layer", REFERENCE_PATH);
    *ret_reference = NULL;
    return TRUE;
  }
  gsize size;
  g_autofree char *text = util_read_all(fd, REFERENCE_MAX_SIZE, REFERENCE_PATH, &size, error);
  Reference *reference = text ? reference_parse(text, size, error) : NULL;
  if (!reference)
    return FALSE;
  *ret_reference = reference;
  return TRUE;
}

char *
reference_serialise(const Reference *reference)
{
  /* None of the values can hold a character that JSON escapes. */
  return g_strdup_printf("{\n"
                         "  \"version\": %d,\n"
                         "  \"storePath\": \"%s\",\n"
                         "  \"narHash\": \"%s\",\n"
                         "  \"manifestDigest\": \"%s\"\n"
                         "}\n",
                         REFERENCE_VERSION, reference->store_path, reference->nar_hash,
                         reference->manifest_digest);
}
