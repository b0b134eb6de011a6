/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "assembly.h"

#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>

#include "idmap.h"
#include "mountapi.h"
#include "overlay.h"
#include "util.h"

/* One way through the kernel's interfaces. */
typedef struct {
  const char *feature; /* what is new in it: NIXSTORE_TEST_DISABLE takes it away */
  gboolean one_step;   /* index, data, upper in one overlay; else a read-only one below another */
  gboolean attached;   /* layers attached in a private mount namespace: kernels before 6.15 */
  OverlayWay way;
} AssemblyWay;

/* Best first. The kernels are examples: nobody asks for a version, a refused way leads to the next.
 */
static const AssemblyWay assembly_ways[] = {
    {"one-step", TRUE, FALSE, OVERLAY_BY_DESCRIPTOR},          /* 6.16 */
    {"detached-layers", FALSE, FALSE, OVERLAY_BY_DESCRIPTOR},  /* 6.15 */
    {"layer-descriptors", FALSE, TRUE, OVERLAY_BY_DESCRIPTOR}, /* 6.13 */
    {"layer-names", FALSE, TRUE, OVERLAY_BY_NAME},             /* 6.7, Debian 13's 6.12 */
    {"classic-mount", FALSE, TRUE, OVERLAY_CLASSIC}, /* 6.5; without an index, older ones */
};

typedef struct {
  const MountPlan *plan;
  const AssemblyWay *way;
  const AssemblyIndex *index;
  int userns_fd;  /* -1: ids are not mapped */
  GArray *lowers; /* of int, owned */
  GArray *data_layers;
  int upper_fd, work_fd;
  gboolean index_failed; /* no way has to do with that */
  gboolean understood;   /* overlayfs took the layers, so the error tells what is wrong with them */
} Assembly;

static void
assembly_clear_fd(void *item)
{
  util_close_fd(item);
}

static GArray *
assembly_new_fds(void)
{
  GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
  g_array_set_clear_func(fds, assembly_clear_fd);
  return fds;
}

static int
assembly_open_directory(const char *path, GError **error)
{
  int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0)
    util_error_errno(error, "open the layer %s", path);
  return fd;
}

/* An idmapped clone of the directory @fd; @fd itself where its mount is mapped already, as
 * Podman 4.3 hands lowers over. Takes over *@fd. */
static int
assembly_map_directory(Assembly *assembly, int *fd, GError **error)
{
  g_autoptr(GError) local = NULL;
  autofd int clone_fd = mountapi_clone(*fd, error);

  if (clone_fd < 0)
    return -1;
  if (mountapi_set_idmap(clone_fd, assembly->userns_fd, &local)) {
    util_close_fd(fd);
    if (assembly->way->attached && !mountapi_attach_private(clone_fd, error))
      return -1;
    return util_steal_fd(&clone_fd);
  }
  if (errno == EPERM)
    return util_steal_fd(fd);
  g_propagate_error(error, g_steal_pointer(&local));
  return -1;
}

static gboolean
assembly_open_lower(Assembly *assembly, const char *path, GError **error)
{
  autofd int fd = assembly_open_directory(path, error);

  if (fd >= 0 && assembly->userns_fd >= 0) {
    int mapped = assembly_map_directory(assembly, &fd, error);
    if (mapped < 0)
      g_prefix_error(error, "layer %s: ", path);
    util_close_fd(&fd);
    fd = mapped;
  }
  if (fd < 0)
    return FALSE;
  g_array_append_val(assembly->lowers, fd);
  fd = -1;
  return TRUE;
}

static gboolean
assembly_open_data(Assembly *assembly, const char *path, GError **error)
{
  int fd = assembly_open_directory(path, error);

  if (fd < 0)
    return FALSE;
  g_array_append_val(assembly->data_layers, fd);
  return TRUE;
}

/* overlayfs refuses to mount what was once mounted volatile while this mark is there. */
static gboolean
assembly_forget_volatile(const Assembly *assembly, GError **error)
{
  autofd int incompat = util_openat2(assembly->work_fd, "work/incompat", O_RDONLY | O_DIRECTORY, 0,
                                     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  if (incompat < 0)
    return TRUE;
  return util_remove_tree(incompat, "volatile", error);
}

static gboolean
assembly_open_upper(Assembly *assembly, GError **error)
{
  const MountPlan *plan = assembly->plan;

  if (!plan->upper)
    return TRUE;
  assembly->upper_fd = assembly_open_directory(plan->upper, error);
  if (assembly->upper_fd < 0)
    return FALSE;
  assembly->work_fd = assembly_open_directory(plan->work, error);
  if (assembly->work_fd < 0)
    return FALSE;
  return assembly_forget_volatile(assembly, error);
}

static gboolean
assembly_open_layers(Assembly *assembly, GError **error)
{
  const MountPlan *plan = assembly->plan;

  for (char **path = plan->lowers; *path; path++)
    if (!assembly_open_lower(assembly, *path, error))
      return FALSE;
  for (char **path = plan->data; *path && !assembly->index->is_whole; path++)
    if (!assembly_open_data(assembly, *path, error))
      return FALSE;
  return assembly_open_upper(assembly, error);
}

/* The index's mount, its ids mapped, attached where the kernel wants it so. */
static int
assembly_open_index(Assembly *assembly, GError **error)
{
  autofd int fd = assembly->index->open(assembly->index->data, error);

  assembly->index_failed = fd < 0;
  if (fd < 0)
    return -1;
  if (assembly->userns_fd >= 0 && !assembly->index->is_whole && !assembly->index->is_mapped &&
      !mountapi_set_idmap(fd, assembly->userns_fd, error)) {
    g_prefix_error(error, "index: ");
    return -1;
  }
  if (assembly->way->attached && !mountapi_attach_private(fd, error))
    return -1;
  return util_steal_fd(&fd);
}

/* An index that is whole needs no overlay when nothing lies above it. */
static int
assembly_open_alone(Assembly *assembly, GError **error)
{
  autofd int fd = assembly->index->open(assembly->index->data, error);

  assembly->index_failed = fd < 0;
  if (fd < 0 || !mountapi_set_attributes(fd, assembly->plan->attributes, error))
    return -1;
  return util_steal_fd(&fd);
}

/* The read-only overlay of index and data alone, which becomes an ordinary lower. Kernels
 * before 6.16 want metacopy=on for it; an upper in the same overlay would then get metacopies too,
 * and a commit would store them as files of zeroes. */
static int
assembly_create_base(Assembly *assembly, int index_fd, gboolean is_final, GError **error)
{
  g_autoptr(GArray) lowers = g_array_new(FALSE, FALSE, sizeof(int));
  Overlay overlay = {
      .lowers = lowers,
      .data = assembly->data_layers,
      .upper_fd = -1,
      .work_fd = -1,
      .metacopy = TRUE,
      .source = assembly->plan->source,
      .context = assembly->plan->context,
      .attributes = is_final ? assembly->plan->attributes : 0,
  };

  g_array_append_val(lowers, index_fd);
  autofd int fd = overlay_create(&overlay, assembly->way->way, error);
  assembly->understood = overlay.understood;
  if (fd < 0)
    g_prefix_error(error, "overlay of the index and its files: ");
  if (fd < 0 || is_final || !assembly->way->attached)
    return util_steal_fd(&fd);
  return mountapi_attach_private(fd, error) ? util_steal_fd(&fd) : -1;
}

static int
assembly_create_overlay(Assembly *assembly, gboolean with_data, GError **error)
{
  const MountPlan *plan = assembly->plan;
  g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(int));
  Overlay overlay = {
      .lowers = assembly->lowers,
      .data = with_data ? assembly->data_layers : none,
      .upper_fd = assembly->upper_fd,
      .work_fd = assembly->work_fd,
      .is_volatile = plan->is_volatile,
      .context = plan->context,
      .source = plan->source,
      .attributes = plan->attributes,
  };

  int fd = overlay_create(&overlay, assembly->way->way, error);
  assembly->understood = overlay.understood;
  if (fd < 0)
    g_prefix_error(error, "overlay of %u lower directories%s%s: ", assembly->lowers->len,
                   plan->upper ? " and the upper " : "", plan->upper ? plan->upper : "");
  return fd;
}

/* The overlay (or the index's own) as a detached mount. */
static int
assembly_create_all(Assembly *assembly, GError **error)
{
  const MountPlan *plan = assembly->plan;

  if (!assembly_open_layers(assembly, error))
    return -1;
  if (plan->index == PLAN_INDEX_NONE)
    return assembly_create_overlay(assembly, FALSE, error);

  gboolean is_base_alone = !plan->upper && assembly->lowers->len == 0;
  if (is_base_alone && assembly->index->is_whole)
    return assembly_open_alone(assembly, error);
  autofd int index_fd = assembly_open_index(assembly, error);
  if (index_fd < 0)
    return -1;
  if (is_base_alone)
    return assembly_create_base(assembly, index_fd, TRUE, error);
  if (!assembly->way->one_step && !assembly->index->is_whole) {
    int base_fd = assembly_create_base(assembly, index_fd, FALSE, error);
    if (base_fd < 0)
      return -1;
    g_array_append_val(assembly->lowers, base_fd);
    return assembly_create_overlay(assembly, FALSE, error);
  }
  g_array_append_val(assembly->lowers, index_fd);
  index_fd = -1;
  return assembly_create_overlay(assembly, TRUE, error);
}

static int
assembly_create_bind(Assembly *assembly, GError **error)
{
  const MountPlan *plan = assembly->plan;

  if (!assembly_open_lower(assembly, plan->lowers[0], error))
    return -1;
  int fd = g_array_index(assembly->lowers, int, 0);
  autofd int clone_fd = mountapi_clone(fd, error);
  if (clone_fd < 0 ||
      !mountapi_set_attributes(clone_fd, plan->attributes | MOUNT_ATTR_RDONLY, error))
    return -1;
  return util_steal_fd(&clone_fd);
}

static void
assembly_clear(Assembly *assembly)
{
  g_clear_pointer(&assembly->lowers, g_array_unref);
  g_clear_pointer(&assembly->data_layers, g_array_unref);
  util_close_fd(&assembly->upper_fd);
  util_close_fd(&assembly->work_fd);
}

static int
assembly_try(Assembly *assembly, const AssemblyWay *way, GError **error)
{
  MountapiStay stay = MOUNTAPI_STAY_INIT;
  autofd int fd = -1;

  assembly->way = way;
  assembly->lowers = assembly_new_fds();
  assembly->data_layers = assembly_new_fds();
  assembly->upper_fd = assembly->work_fd = -1;
  assembly->understood = FALSE;
  if (!way->attached || mountapi_enter_private(&stay, error)) {
    fd = plan_is_bind(assembly->plan) ? assembly_create_bind(assembly, error)
                                      : assembly_create_all(assembly, error);
  }
  assembly_clear(assembly);
  if (fd >= 0 && !mountapi_leave_private(&stay, error))
    return -1;
  mountapi_leave_private(&stay, NULL);
  return util_steal_fd(&fd);
}

/* Of the errors of all the ways, the last that is about the layers and not about the way. */
static void
assembly_keep_error(const Assembly *assembly, gboolean *is_telling, GError **kept, GError *error)
{
  if (*kept && *is_telling && !assembly->understood) {
    g_error_free(error);
    return;
  }
  g_clear_error(kept);
  *kept = error;
  *is_telling = assembly->understood;
}

static int
assembly_try_ways(Assembly *assembly, const char **ret_way, GError **error)
{
  g_autoptr(GError) kept = NULL;
  gboolean is_telling = FALSE;
  int refused = -1; /* an OverlayWay that this kernel does not know */

  for (gsize i = 0; i < G_N_ELEMENTS(assembly_ways); i++) {
    GError *local = NULL;
    if (mountapi_is_disabled(assembly_ways[i].feature) || (int)assembly_ways[i].way == refused)
      continue;
    int fd = assembly_try(assembly, &assembly_ways[i], &local);
    if (fd >= 0) {
      *ret_way = assembly_ways[i].feature;
      return fd;
    }
    gboolean unsupported = g_error_matches(local, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED);
    if (!assembly->understood)
      refused = (int)assembly_ways[i].way;
    assembly->understood = assembly->understood || !unsupported;
    assembly_keep_error(assembly, &is_telling, &kept, local);
    if (!unsupported || assembly->index_failed)
      break;
  }
  if (!kept)
    util_error(&kept, NIXSTORE_ERROR_UNSUPPORTED, "every way to mount is disabled");
  g_propagate_error(error, g_steal_pointer(&kept));
  return -1;
}

int
assembly_create(const MountPlan *plan, const AssemblyIndex *index, const char **ret_way,
                GError **error)
{
  static const AssemblyIndex none;
  Assembly assembly = {.plan = plan, .index = index ? index : &none};
  autofd int userns_fd = -1;

  gboolean is_mapped = assembly.index->is_whole || assembly.index->is_mapped;
  if (plan->uids && (plan->lowers[0] || !is_mapped)) {
    userns_fd = idmap_open_userns(plan->uids, plan->gids, error);
    if (userns_fd < 0)
      return -1;
  }
  assembly.userns_fd = userns_fd;
  return assembly_try_ways(&assembly, ret_way, error);
}
