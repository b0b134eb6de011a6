/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "overlay.h"

#include <stdio.h>
#include <sys/mount.h>

#include "mountapi.h"
#include "settings.h"
#include "util.h"

typedef struct {
  const char *key, *value;
} OverlayParameter;

/* Behaviour that must not depend on how the kernel was configured. A renamed directory or a chmod
 * in the upper has to look as containers/storage's native diff expects it: no redirect, no
 * metacopy. Without xino files and directories would have different device numbers. */
static const OverlayParameter overlay_read_write[] = {
    {"xino", "on"},
    {"metacopy", "off"},
    {"redirect_dir", "off"},
    {"index", "off"},
};
/* In a user namespace, where marks are user.* xattrs: "off" would follow redirects all the same,
 * and is refused with them. */
static const OverlayParameter overlay_read_write_user[] = {
    {"xino", "on"},
    {"metacopy", "off"},
    {"redirect_dir", "nofollow"},
    {"index", "off"},
};
static const OverlayParameter overlay_read_only[] = {
    {"xino", "on"},
};
static const OverlayParameter overlay_read_only_metacopy[] = {
    {"xino", "on"},
    {"metacopy", "on"},
};

const char *
overlay_marks(void)
{
  return settings_process_is_root() ? "trusted.overlay." : "user.overlay.";
}

static const OverlayParameter *
overlay_parameters(const Overlay *overlay, gsize *ret_count)
{
  if (overlay->upper_fd >= 0 && !settings_process_is_root()) {
    *ret_count = G_N_ELEMENTS(overlay_read_write_user);
    return overlay_read_write_user;
  }
  if (overlay->upper_fd >= 0) {
    *ret_count = G_N_ELEMENTS(overlay_read_write);
    return overlay_read_write;
  }
  /* In a user namespace, where it is refused, only kernels that do without have data-only layers.
   */
  if (overlay->metacopy && settings_process_is_root()) {
    *ret_count = G_N_ELEMENTS(overlay_read_only_metacopy);
    return overlay_read_only_metacopy;
  }
  *ret_count = G_N_ELEMENTS(overlay_read_only);
  return overlay_read_only;
}

static gboolean
overlay_set_layer(int fs, const char *key, int fd, OverlayWay way, GError **error)
{
  char path[32];

  if (way == OVERLAY_BY_DESCRIPTOR)
    return mountapi_set_fd(fs, key, fd, error);
  /* Names of descriptors, not of directories: short (255 bytes is the limit) and free of escapes.
   */
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return mountapi_set_string(fs, key, path, error);
}

static gboolean
overlay_set_layers(int fs, Overlay *overlay, OverlayWay way, GError **error)
{
  for (guint i = 0; i < overlay->lowers->len; i++)
    if (!overlay_set_layer(fs, "lowerdir+", g_array_index(overlay->lowers, int, i), way, error))
      return FALSE;
  for (guint i = 0; i < overlay->data->len; i++)
    if (!overlay_set_layer(fs, "datadir+", g_array_index(overlay->data, int, i), way, error))
      return FALSE;
  overlay->understood = TRUE;
  if (overlay->upper_fd < 0)
    return TRUE;
  return overlay_set_layer(fs, "upperdir", overlay->upper_fd, way, error) &&
         overlay_set_layer(fs, "workdir", overlay->work_fd, way, error);
}

static int
overlay_create_by_api(Overlay *overlay, OverlayWay way, GError **error)
{
  gsize count;
  const OverlayParameter *parameters = overlay_parameters(overlay, &count);
  autofd int fs = mountapi_open_fs("overlay", error);

  if (fs < 0)
    return -1;
  /* Layers first: a kernel that does not take them this way says so before anything else is done.
   */
  if (!overlay_set_layers(fs, overlay, way, error))
    return -1;
  for (gsize i = 0; i < count; i++)
    if (!mountapi_set_string(fs, parameters[i].key, parameters[i].value, error))
      return -1;
  /* Whiteouts and opaque marks of an upper: in a user namespace there is no trusted.*. */
  if (!settings_process_is_root() && !mountapi_set_flag(fs, "userxattr", error))
    return -1;
  if (overlay->source && !mountapi_set_string(fs, "source", overlay->source, error))
    return -1;
  if (overlay->context && !mountapi_set_string(fs, "context", overlay->context, error))
    return -1;
  if (overlay->is_volatile && overlay->upper_fd >= 0 && !mountapi_set_flag(fs, "volatile", error))
    return -1;
  return mountapi_create(fs, overlay->attributes, error);
}

/* The options of the classic call, layers named by their descriptors' numbers: it is made from
 * within /proc/self/fd, so that hundreds of layers fit into the page that mount(2) takes. */
static char *
overlay_describe(const Overlay *overlay)
{
  GString *text = g_string_new("lowerdir=");
  gsize count;
  const OverlayParameter *parameters = overlay_parameters(overlay, &count);

  for (guint i = 0; i < overlay->lowers->len; i++)
    g_string_append_printf(text, "%s%d", i ? ":" : "", g_array_index(overlay->lowers, int, i));
  for (guint i = 0; i < overlay->data->len; i++)
    g_string_append_printf(text, "::%d", g_array_index(overlay->data, int, i));
  if (overlay->upper_fd >= 0)
    g_string_append_printf(text, ",upperdir=%d,workdir=%d", overlay->upper_fd, overlay->work_fd);
  for (gsize i = 0; i < count; i++)
    g_string_append_printf(text, ",%s=%s", parameters[i].key, parameters[i].value);
  if (!settings_process_is_root())
    g_string_append(text, ",userxattr");
  if (overlay->is_volatile && overlay->upper_fd >= 0)
    g_string_append(text, ",volatile");
  if (overlay->context)
    g_string_append_printf(text, ",context=\"%s\"", overlay->context);
  return g_string_free(text, FALSE);
}

static int
overlay_create_classic(const Overlay *overlay, GError **error)
{
  g_autofree char *options = overlay_describe(overlay);
  unsigned long flags = overlay->upper_fd >= 0 ? 0 : MS_RDONLY;
  int fd;

  if (chdir("/proc/self/fd") < 0) {
    util_error_errno(error, "change to /proc/self/fd");
    return -1;
  }
  /* Over /proc, which only we see and which is always there: the clone is what counts. */
  if (mount(overlay->source ? overlay->source : "overlay", "/proc", "overlay", flags, options) <
      0) {
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "mount an overlay with the options %s: %s",
               options, g_strerror(errno));
    return -1;
  }
  fd = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (fd < 0)
    util_error_errno(error, "clone the mount of an overlay");
  umount2("/proc", MNT_DETACH);
  if (fd >= 0 && !mountapi_set_attributes(fd, overlay->attributes, error))
    util_close_fd(&fd);
  return fd;
}

int
overlay_create(Overlay *overlay, OverlayWay way, GError **error)
{
  if (way == OVERLAY_CLASSIC)
    return overlay_create_classic(overlay, error);
  return overlay_create_by_api(overlay, way, error);
}
