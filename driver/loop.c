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

int
loop_attach(int file_fd, char name[LOOP_NAME_SIZE], GError **error)
{
  autofd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

  if (control < 0) {
    util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "open /dev/loop-control: %s", g_strerror(errno));
    return -1;
  }
  for (int attempt = 0; attempt < LOOP_MAX_ATTEMPTS; attempt++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0)
      break;
    snprintf(name, LOOP_NAME_SIZE, "/dev/loop%d", number);
    autofd int device = open(name, O_RDONLY | O_CLOEXEC);
    if (device < 0)
      break;
    int result = loop_configure(device, file_fd);
    if (result == 0)
      return util_steal_fd(&device);
    errno = result;
    if (result != EBUSY)
      break;
  }
  util_error_errno(error, "attach a file to a free loop device");
  return -1;
}
