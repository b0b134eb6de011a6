/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "backend.h"

#include <string.h>

#include "mountapi.h"
#include "util.h"

static const Backend backend_rows[] = {
    {"erofs", TRUE, TRUE, backend_erofs_check, backend_erofs_create},
    {"overlaydir", TRUE, TRUE, backend_overlaydir_check, backend_overlaydir_create,
     backend_overlaydir_prepare},
    {"fuse", TRUE, TRUE, backend_fuse_check, backend_fuse_create},
    {"bind", FALSE, FALSE, NULL, backend_bind_create},
};

const Backend *
backend_list(gsize *ret_count)
{
  *ret_count = G_N_ELEMENTS(backend_rows);
  return backend_rows;
}

const Backend *
backend_find(const char *mode, GError **error)
{
  g_autoptr(GString) known = g_string_new("auto");

  for (gsize i = 0; i < G_N_ELEMENTS(backend_rows); i++) {
    if (strcmp(backend_rows[i].mode, mode) == 0)
      return &backend_rows[i];
    g_string_append_printf(known, ", %s", backend_rows[i].mode);
  }
  g_autofree char *text = util_escape(mode);
  util_error(error, NIXSTORE_ERROR_INVALID, "unknown mode \"%s\" (known: %s)", text, known->str);
  return NULL;
}

gboolean
backend_check(const Backend *backend, const MountPlan *plan, GError **error)
{
  /* Without an index there is nothing that the modes differ in. */
  return plan->index == PLAN_INDEX_NONE || !backend->check || backend->check(plan, error);
}

gboolean
backend_mount(const Backend *backend, const MountPlan *plan, int index_fd, int target_fd,
              GError **error)
{
  const char *way;
  autofd int fd = backend->create(plan, index_fd, &way, error);

  return fd >= 0 && mountapi_attach(fd, target_fd, error);
}
