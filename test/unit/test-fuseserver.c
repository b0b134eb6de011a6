/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuseserver.h"

static void
assert_unit(const char *cgroups, const char *expected)
{
  g_autofree char *unit = fuseserver_find_unit(cgroups);

  g_assert_cmpstr(unit, ==, expected);
}

static void
test_unit(void)
{
  assert_unit("0::/\n", NULL);
  assert_unit("", NULL);
  assert_unit("0::/user.slice\n", NULL);
  assert_unit("0::/user.slice/user-1000.slice/session-3.scope\n",
              "/user.slice/user-1000.slice/session-3.scope");
  assert_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u7.scope/x\n",
              "/user.slice/user-1000.slice/user@1000.service/app.slice/run-u7.scope");
  /* Podman's own scopes are not looked at, what runs in containers is. */
  assert_unit("0::/podman-12.scope\n", NULL);
  assert_unit("0::/machine.slice/libpod-01.scope/container\n", "/machine.slice/libpod-01.scope");
  assert_unit("0::/system.slice/web.service\n", "/system.slice/web.service");
  assert_unit("0::/system.slice/web.service/libpod-payload-0123/a\n", "/system.slice/web.service");
  assert_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/runtime\n",
              "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service");
  assert_unit("0::/user.slice/user-1000.slice/user@1000.service/user.slice/podman-12.scope\n",
              "/user.slice/user-1000.slice/user@1000.service");
  /* Neither what is called after a service nor one hierarchy alone. */
  assert_unit("0::/a.services/b.service.d/c.scopes\n", NULL);
  assert_unit("0::/a.service/b.service.d/c\n", "/a.service");
  assert_unit("12:pids:/\n1:name=systemd:/system.slice/web.service\n0::/\n",
              "/system.slice/web.service");
  assert_unit("no line of the kernel's", NULL);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/fuseserver/unit", test_unit);
  return g_test_run();
}
