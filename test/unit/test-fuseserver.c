/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuseserver.h"

static void
assert_service(const char *cgroups, const char *expected)
{
  g_autofree char *service = fuseserver_find_service(cgroups);

  g_assert_cmpstr(service, ==, expected);
}

static void
test_service(void)
{
  assert_service("0::/\n", NULL);
  assert_service("", NULL);
  assert_service("0::/user.slice/user-1000.slice/session-3.scope\n", NULL);
  assert_service("0::/system.slice/web.service\n", "/system.slice/web.service");
  assert_service("0::/system.slice/web.service/libpod-payload-0123/a\n",
                 "/system.slice/web.service");
  assert_service("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/runtime\n",
                 "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service");
  assert_service("0::/user.slice/user-1000.slice/user@1000.service/user.slice/podman-12.scope\n",
                 "/user.slice/user-1000.slice/user@1000.service");
  /* Neither what is called after a service nor one hierarchy alone. */
  assert_service("0::/a.services/b.service.d/c\n", NULL);
  assert_service("0::/a.service/b.service.d/c\n", "/a.service");
  assert_service("12:pids:/\n1:name=systemd:/system.slice/web.service\n0::/\n",
                 "/system.slice/web.service");
  assert_service("no line of the kernel's", NULL);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/fuseserver/service", test_service);
  return g_test_run();
}
