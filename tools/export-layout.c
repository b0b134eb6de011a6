/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "export-layout.h"
#include "export-tar.h"
#include "ustar.h"
#include "util.h"

#include <stdio.h>
#include <string.h>

/* What is known of an image once its layer is written. */
typedef struct {
  OciBlob layer, config, manifest;
  char *diff_id;
  char *config_text, *manifest_text;
} Written;

static void
written_clear(Written *written)
{
  g_free(written->layer.digest);
  g_free(written->config.digest);
  g_free(written->manifest.digest);
  g_free(written->diff_id);
  g_free(written->config_text);
  g_free(written->manifest_text);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Written, written_clear)

static const char *
hex_of(const char *digest)
{
  return digest + strlen("sha256:");
}

/* Writes the layer to @fd, from where that stands on, and composes the documents that name it. */
static gboolean
write_layer(const ExportImage *image, int fd, const char *path, LayerCompression compression,
            Written *written, GError **error)
{
  g_autoptr(Progress) progress = progress_new("exporting");
  g_autoptr(LayerWriter) writer = layer_writer_new(fd, compression, path, error);
  if (!writer || !export_tar(image->tree, image->image->rootfs_fd, writer, progress, error) ||
      !layer_writer_finish(writer, &written->diff_id, &written->layer, error))
    return FALSE;
  written->config_text =
      oci_config_collapse(image->config, image->config_size, written->diff_id, error);
  if (!written->config_text)
    return FALSE;
  oci_blob_describe(&written->config, OCI_CONFIG_TYPE, written->config_text,
                    strlen(written->config_text));
  written->manifest_text = oci_manifest(&written->config, &written->layer, NULL);
  oci_blob_describe(&written->manifest, NULL, written->manifest_text,
                    strlen(written->manifest_text));
  return TRUE;
}

/* Writes the layer as the first member of the tar @fd. The name and the size in its header are
 * known only at the end: the header is filled in afterwards. @name_format has one %s, the digest's
 * hex digits, of the layer as it is written. */
static gboolean
write_layer_member(const ExportImage *image, int fd, const char *path, LayerCompression compression,
                   const char *prefix, const char *suffix, Written *written, GError **error)
{
  static const guint8 zeroes[USTAR_BLOCK];
  guint8 header[USTAR_BLOCK];
  off_t start = lseek(fd, 0, SEEK_CUR);
  if (start < 0 || !util_write_all(fd, zeroes, USTAR_BLOCK))
    return util_error_errno(error, "write %s", path);
  if (!write_layer(image, fd, path, compression, written, error))
    return FALSE;
  g_autofree char *name = g_strconcat(prefix, hex_of(written->layer.digest), suffix, NULL);
  ustar_fill_file_header(header, name, written->layer.size);
  if (!util_write_all(fd, zeroes, ustar_padding(written->layer.size)) ||
      pwrite(fd, header, USTAR_BLOCK, start) != USTAR_BLOCK)
    return util_error_errno(error, "write %s", path);
  return TRUE;
}

static gboolean
write_array(int fd, const char *path, const GByteArray *data, GError **error)
{
  return util_write_all(fd, data->data, data->len) || util_error_errno(error, "write %s", path);
}

static void
append_blob(GByteArray *archive, const char *digest, const char *text)
{
  g_autofree char *name = g_strconcat("blobs/sha256/", hex_of(digest), NULL);
  ustar_append_file(archive, name, text, strlen(text));
}

gboolean
export_oci_archive(const ExportImage *image, int fd, const char *path, GError **error)
{
  g_auto(Written) written = {0};
  g_autoptr(GByteArray) head = g_byte_array_new();
  g_autoptr(GByteArray) tail = g_byte_array_new();
  ustar_append_file(head, "oci-layout", OCI_LAYOUT, strlen(OCI_LAYOUT));
  if (!write_array(fd, path, head, error) ||
      !write_layer_member(image, fd, path, image->compression, "blobs/sha256/", "", &written,
                          error))
    return FALSE;
  g_autofree char *index = oci_index(written.manifest_text, image->name);
  append_blob(tail, written.config.digest, written.config_text);
  append_blob(tail, written.manifest.digest, written.manifest_text);
  ustar_append_file(tail, "index.json", index, strlen(index));
  ustar_append_end(tail);
  return write_array(fd, path, tail, error);
}

static gboolean
write_blob_file(int blobs_fd, const char *digest, const char *text, GError **error)
{
  return util_replace_file(blobs_fd, hex_of(digest), text, strlen(text), 0644, error);
}

/* The layer into @blobs_fd, under the name that its digest gives it. */
static gboolean
write_layer_file(const ExportImage *image, int blobs_fd, const char *path, Written *written,
                 GError **error)
{
  autofd int fd = openat(blobs_fd, "layer", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0)
    return util_error_errno(error, "write %s", path);
  if (!write_layer(image, fd, path, image->compression, written, error))
    return FALSE;
  if (fsync(fd) < 0 || renameat(blobs_fd, "layer", blobs_fd, hex_of(written->layer.digest)) < 0)
    return util_error_errno(error, "write %s", path);
  return TRUE;
}

gboolean
export_oci_directory(const ExportImage *image, int fd, const char *path, GError **error)
{
  g_auto(Written) written = {0};
  if (mkdirat(fd, "blobs", 0777) < 0 || mkdirat(fd, "blobs/sha256", 0777) < 0)
    return util_error_errno(error, "write %s", path);
  autofd int blobs_fd = openat(fd, "blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (blobs_fd < 0)
    return util_error_errno(error, "write %s", path);
  if (!write_layer_file(image, blobs_fd, path, &written, error))
    return FALSE;
  g_autofree char *index = oci_index(written.manifest_text, image->name);
  return write_blob_file(blobs_fd, written.config.digest, written.config_text, error) &&
         write_blob_file(blobs_fd, written.manifest.digest, written.manifest_text, error) &&
         util_replace_file(fd, "index.json", index, strlen(index), 0644, error) &&
         util_replace_file(fd, "oci-layout", OCI_LAYOUT, strlen(OCI_LAYOUT), 0644, error);
}

gboolean
export_docker_archive(const ExportImage *image, int fd, const char *path, GError **error)
{
  g_auto(Written) written = {0};
  if (!write_layer_member(image, fd, path, LAYER_NONE, "", ".tar", &written, error))
    return FALSE;
  g_autofree char *layer = g_strconcat(hex_of(written.layer.digest), ".tar", NULL);
  g_autofree char *config = g_strconcat(hex_of(written.config.digest), ".json", NULL);
  g_autofree char *manifest = oci_docker_manifest(config, layer, image->name);
  g_autoptr(GByteArray) tail = g_byte_array_new();
  ustar_append_file(tail, config, written.config_text, strlen(written.config_text));
  ustar_append_file(tail, "manifest.json", manifest, strlen(manifest));
  ustar_append_end(tail);
  return write_array(fd, path, tail, error);
}
