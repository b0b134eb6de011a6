/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "image.h"
#include "manifest.h"
#include "rootfs.h"
#include "util.h"

#include <jansson.h>
#include <linux/openat2.h>
#include <string.h>

#define IMAGE_JSON_MAX_SIZE (64 * 1024)
#define CONFIG_MAX_SIZE (16 * 1024 * 1024)

void
image_free(Image *image)
{
  if (!image)
    return;
  util_close_fd(&image->fd);
  util_close_fd(&image->rootfs_fd);
  g_free(image->path);
  g_free(image->config_digest);
  g_free(image->manifest_digest);
  g_free(image);
}

/* The digest that @object's member @name holds; the object's. NULL with @error. */
static const char *
get_digest(json_t *object, const char *name, GError **error)
{
  const char *digest = json_string_value(json_object_get(object, name));
  if (digest && util_digest_is_valid(digest))
    return digest;
  util_error(error, NIXSTORE_ERROR_INVALID, "`%s' is not sha256:<hexadecimal>", name);
  return NULL;
}

static gboolean
image_set_json(Image *image, json_t *object, GError **error)
{
  if (!json_is_object(object))
    return util_error(error, NIXSTORE_ERROR_INVALID, "not a JSON object");
  json_t *version = json_object_get(object, "version");
  if (!json_is_integer(version))
    return util_error(error, NIXSTORE_ERROR_INVALID, "`version' is missing or no number");
  if (json_integer_value(version) != IMAGE_FORMAT_VERSION)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "image format version %" JSON_INTEGER_FORMAT
                      ": this nixstore knows version %d",
                      json_integer_value(version), IMAGE_FORMAT_VERSION);
  const char *config = get_digest(object, "configDigest", error);
  const char *manifest = config ? get_digest(object, "manifestDigest", error) : NULL;
  if (!manifest)
    return FALSE;
  image->config_digest = g_strdup(config);
  image->manifest_digest = g_strdup(manifest);
  return TRUE;
}

gboolean
image_parse_json(Image *image, const char *text, gsize size, GError **error)
{
  json_error_t problem;
  json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
  if (!object)
    return util_error(error, NIXSTORE_ERROR_INVALID, "line %d: %s", problem.line, problem.text);
  gboolean ok = image_set_json(image, object, error);
  json_decref(object);
  return ok;
}

/* Opens the part @name, which must be of type @type (S_IFREG or S_IFDIR), following no symlink. */
static int
image_open_part(const Image *image, const char *name, mode_t type, GError **error)
{
  int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  struct stat st;
  autofd int fd = util_openat2(image->fd, name, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (fd < 0 && errno == ENOENT) {
    util_error(error, NIXSTORE_ERROR_INVALID,
               "%s is no image path: it has no %s (nixstore convert makes image paths)",
               image->path, name);
    return -1;
  }
  if (fd < 0 || fstat(fd, &st) < 0) {
    util_error_errno(error, "open %s/%s", image->path, name);
    return -1;
  }
  if ((st.st_mode & S_IFMT) != type) {
    util_error(error, NIXSTORE_ERROR_INVALID, "%s is no image path: its %s is not a %s",
               image->path, name, type == S_IFDIR ? "directory" : "regular file");
    return -1;
  }
  return util_steal_fd(&fd);
}

static char *
image_read_part(const Image *image, const char *name, gsize max, gsize *ret_size, GError **error)
{
  autofd int fd = image_open_part(image, name, S_IFREG, error);
  if (fd < 0)
    return NULL;
  g_autofree char *full = g_build_filename(image->path, name, NULL);
  return util_read_all(fd, max, full, ret_size, error);
}

/* As image_read_part(), and the content must have the SHA-256 @digest. */
static char *
image_read_checked(const Image *image, const char *name, const char *digest, gsize max,
                   gsize *ret_size, GError **error)
{
  gsize size;
  g_autofree char *text = image_read_part(image, name, max, &size, error);
  if (!text)
    return NULL;
  g_autofree char *found = util_sha256_hex(text, size);
  if (strcmp(found, digest + strlen("sha256:")) != 0) {
    util_error(error, NIXSTORE_ERROR_INVALID, "%s/%s has the digest sha256:%s, not %s, as %s says",
               image->path, name, found, digest, IMAGE_JSON);
    return NULL;
  }
  *ret_size = size;
  return g_steal_pointer(&text);
}

Image *
image_open(const char *path, GError **error)
{
  g_autoptr(Image) image = g_new0(Image, 1);
  image->rootfs_fd = -1;
  image->path = g_canonicalize_filename(path, NULL);
  image->fd = open(image->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (image->fd < 0) {
    if (errno == ENOTDIR || errno == ELOOP)
      util_error(error, NIXSTORE_ERROR_INVALID, "%s is no image path: not a directory",
                 image->path);
    else
      util_error_errno(error, "open the image path %s", image->path);
    return NULL;
  }
  gsize size;
  g_autofree char *text = image_read_part(image, IMAGE_JSON, IMAGE_JSON_MAX_SIZE, &size, error);
  if (!text)
    return NULL;
  if (!image_parse_json(image, text, size, error)) {
    g_prefix_error(error, "%s/%s: ", image->path, IMAGE_JSON);
    return NULL;
  }
  image->rootfs_fd = image_open_part(image, IMAGE_ROOTFS, S_IFDIR, error);
  if (image->rootfs_fd < 0)
    return NULL;
  autofd int config = image_open_part(image, IMAGE_CONFIG, S_IFREG, error);
  autofd int manifest = config < 0 ? -1 : image_open_part(image, IMAGE_MANIFEST, S_IFREG, error);
  return manifest < 0 ? NULL : g_steal_pointer(&image);
}

Image *
image_open_reference(const Reference *reference, GError **error)
{
  g_autoptr(Image) image = image_open(reference->store_path, error);
  if (!image)
    return NULL;
  if (strcmp(image->manifest_digest, reference->manifest_digest) != 0) {
    util_error(error, NIXSTORE_ERROR_UNTRUSTED,
               "not trusted: the image names the manifest %s, %s holds %s",
               reference->manifest_digest, reference->store_path, image->manifest_digest);
    return NULL;
  }
  return g_steal_pointer(&image);
}

Tree *
image_read_manifest(Image *image, GError **error)
{
  gsize size;
  g_autofree char *text = image_read_checked(image, IMAGE_MANIFEST, image->manifest_digest,
                                             MANIFEST_MAX_SIZE, &size, error);
  Tree *tree = text ? manifest_parse(text, size, error) : NULL;
  if (text && !tree)
    g_prefix_error(error, "%s/%s: ", image->path, IMAGE_MANIFEST);
  return tree;
}

Tree *
image_load_tree(Image *image, GError **error)
{
  g_autoptr(Tree) tree = image_read_manifest(image, error);
  if (!tree)
    return NULL;
  if (!rootfs_bind_tree(tree, image->rootfs_fd, error)) {
    g_prefix_error(error, "%s: ", image->path);
    return NULL;
  }
  return g_steal_pointer(&tree);
}

char *
image_read_config(Image *image, gsize *ret_size, GError **error)
{
  return image_read_checked(image, IMAGE_CONFIG, image->config_digest, CONFIG_MAX_SIZE, ret_size,
                            error);
}

char *
image_serialise(const char *config_digest, const char *manifest_digest)
{
  return g_strdup_printf("{\n"
                         "  \"version\": %d,\n"
                         "  \"configDigest\": \"%s\",\n"
                         "  \"manifestDigest\": \"%s\"\n"
                         "}\n",
                         IMAGE_FORMAT_VERSION, config_digest, manifest_digest);
}
