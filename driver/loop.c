/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "loop.h"

#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "util.h"

/* Others take free devices too: how often one may be snatched from us. */
#define LOOP_MAX_ATTEMPTS 64

/* 0, or an errno; EBUSY where another took the device meanwhile. */
static int
loop_configure(int device_fd, int file_fd)
{
  struct loop_config config = {0};

  config.fd = (guint32)file_fd;
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  return ioctl(device_fd, LOOP_CONFIGURE, &config) < 0 ? errno : 0;
}

/* Whatever fails here fails for want of devices: no module, no node in a container's /dev, a device
 * control group that denies it. */
static int
loop_unsupported(const char *what, GError **error)
{
  util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "%s: %s", what, g_strerror(errno));
  return -1;
}

int
loop_attach(int file_fd, char name[LOOP_NAME_SIZE], GError **error)
{
  autofd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

  if (control < 0)
    return loop_unsupported("open /dev/loop-control", error);
  for (int attempt = 0; attempt < LOOP_MAX_ATTEMPTS; attempt++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0)
      return loop_unsupported("ask /dev/loop-control for a free loop device", error);
    snprintf(name, LOOP_NAME_SIZE, "/dev/loop%d", number);
    g_autofree char *what = g_strdup_printf("attach a file to %s", name);
    autofd int device = open(name, O_RDONLY | O_CLOEXEC);
    if (device < 0)
      return loop_unsupported(what, error);
    int result = loop_configure(device, file_fd);
    if (result == 0)
      return util_steal_fd(&device);
    errno = result;
    if (result != EBUSY)
      return loop_unsupported(what, error);
  }
  return loop_unsupported("attach a file to a free loop device", error);
}
