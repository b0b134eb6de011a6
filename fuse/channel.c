/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "channel.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "mountapi.h"
#include "protocol.h"
#include "util.h"

/* Pages of a read: 1 MiB, the most that every kernel with FUSE_MAX_PAGES takes. */
#define CHANNEL_MAX_PAGES 256
/* Requests of read-ahead that may be under way. The kernel's own 12 leave a store on a slow disk
 * idle; it lowers this to /sys/module/fuse/parameters/max_user_bgreq for the unprivileged. */
#define CHANNEL_MAX_BACKGROUND 64
/* With passthrough, the filesystem counts as stacked on others: on such as are not stacked
 * themselves, so that one overlay may stand on it (FILESYSTEM_MAX_STACK_DEPTH is 2). */
#define CHANNEL_STACK_DEPTH 1

/* S_IFDIR, in octal as the mount option wants it. */
#define CHANNEL_ROOT_MODE "40000"

gboolean
channel_open(Channel *channel, GError **error)
{
  channel->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (channel->device < 0)
    return util_error_errno(error, "open /dev/fuse");
  return TRUE;
}

static gboolean
channel_set_number(int fs, const char *key, unsigned number, GError **error)
{
  char text[16];

  snprintf(text, sizeof text, "%u", number);
  return mountapi_set_string(fs, key, text, error);
}

int
channel_mount(const Channel *channel, GError **error)
{
  g_autoptr(GError) local = NULL;
  autofd int fs = mountapi_open_fs("fuse", error);

  if (fs < 0)
    return -1;
  /* "ro" makes the superblock itself read-only: otherwise every read marks the access time unknown
   * and the next stat(2) sends a request for it. */
  if (!mountapi_set_flag(fs, "ro", error) ||
      !mountapi_set_string(fs, "source", "nixstore-fuse", error) ||
      !mountapi_set_string(fs, "subtype", "nixstore-fuse", error) ||
      !channel_set_number(fs, "fd", (unsigned)channel->device, error) ||
      !mountapi_set_string(fs, "rootmode", CHANNEL_ROOT_MODE, error) ||
      !channel_set_number(fs, "user_id", geteuid(), error) ||
      !channel_set_number(fs, "group_id", getegid(), error) ||
      !mountapi_set_flag(fs, "default_permissions", error) ||
      !mountapi_set_flag(fs, "allow_other", error))
    return -1;
  int fd = mountapi_create(fs, MOUNT_ATTR_RDONLY, &local);
  if (fd < 0 && errno == ENOTCONN)
    util_error(error, NIXSTORE_ERROR_NOT_FOUND, "the FUSE filesystem has ended");
  else if (fd < 0)
    g_propagate_error(error, g_steal_pointer(&local));
  return fd;
}

static guint64
channel_choose_flags(guint64 offered, const ChannelWishes *wishes)
{
  guint64 wanted = FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO |
                   FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
                   FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA;

  if (wishes->acls)
    wanted |= FUSE_POSIX_ACL;
  if (offered & FUSE_INIT_EXT) {
    wanted |= FUSE_INIT_EXT;
    if (!mountapi_is_disabled("fuse-resend"))
      wanted |= FUSE_HAS_RESEND;
    if (wishes->passthrough)
      wanted |= FUSE_PASSTHROUGH;
  }
  return wanted & offered;
}

static gboolean
channel_answer(Channel *channel, const struct fuse_in_header *in, const struct fuse_init_in *init,
               const ChannelWishes *wishes, GError **error)
{
  const guint32 depth = CHANNEL_STACK_DEPTH;
  guint64 offered = init->flags;
  struct {
    struct fuse_out_header header;
    struct fuse_init_out init;
  } out = {.header = {.len = sizeof out, .unique = in->unique}};

  if (init->flags & FUSE_INIT_EXT)
    offered |= (guint64)init->flags2 << 32;
  guint64 flags = channel_choose_flags(offered, wishes);
  out.init = (struct fuse_init_out){
      .major = FUSE_KERNEL_VERSION,
      .minor = FUSE_KERNEL_MINOR_VERSION,
      .max_readahead = MAX(init->max_readahead, CHANNEL_MAX_PAGES * 4096),
      .flags = (guint32)flags,
      .flags2 = (guint32)(flags >> 32),
      .max_background = CHANNEL_MAX_BACKGROUND,
      .congestion_threshold = CHANNEL_MAX_BACKGROUND * 3 / 4,
      /* Nothing is ever written; 4096 is the least that the kernel takes, and keeps the buffers
       * that it wants for requests small. */
      .max_write = 4096,
      .time_gran = 1,
      .max_pages = CHANNEL_MAX_PAGES,
  };
  if (flags & FUSE_PASSTHROUGH)
    memcpy((char *)&out.init + PROTOCOL_INIT_STACK_DEPTH, &depth, sizeof depth);
  if (write(channel->device, &out, sizeof out) < 0)
    return util_error_errno(error, "answer the kernel's FUSE_INIT");
  channel->minor = MIN(init->minor, FUSE_KERNEL_MINOR_VERSION);
  channel->can_resend = (flags & FUSE_HAS_RESEND) != 0;
  channel->can_pass = (flags & FUSE_PASSTHROUGH) != 0;
  return TRUE;
}

gboolean
channel_agree(Channel *channel, const ChannelWishes *wishes, GError **error)
{
  union {
    struct {
      struct fuse_in_header header;
      struct fuse_init_in init;
    };
    char bytes[FUSE_MIN_READ_BUFFER];
  } in = {.bytes = {0}};
  gssize size;

  do
    size = read(channel->device, in.bytes, sizeof in);
  while (size < 0 && (errno == EINTR || errno == EAGAIN));
  if (size < 0)
    return util_error_errno(error, "read the kernel's FUSE_INIT");
  /* The header, and of the greeting the first four numbers, which are there since 7.6. */
  if ((gsize)size < sizeof in.header + 16 || in.header.opcode != FUSE_INIT)
    return util_error(error, NIXSTORE_ERROR_FAILED, "the kernel's first FUSE request is no INIT");
  if (in.init.major != FUSE_KERNEL_VERSION || in.init.minor < 31)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED,
                      "the kernel speaks FUSE %u.%u, 7.31 (Linux 5.2) is needed", in.init.major,
                      in.init.minor);
  return channel_answer(channel, &in.header, &in.init, wishes, error);
}

int
channel_register(const Channel *channel, int fd)
{
  ProtocolBackingMap map = {.fd = fd};
  int id = ioctl(channel->device, PROTOCOL_IOC_BACKING_OPEN, &map);

  return id < 0 ? -errno : id;
}

void
channel_unregister(const Channel *channel, int id)
{
  guint32 number = (guint32)id;

  ioctl(channel->device, PROTOCOL_IOC_BACKING_CLOSE, &number);
}

void
channel_close(Channel *channel)
{
  util_close_fd(&channel->device);
  *channel = (Channel)CHANNEL_INIT;
}

gboolean
channel_has_ended(const Channel *channel)
{
  struct pollfd device = {.fd = channel->device, .events = 0};

  return poll(&device, 1, 0) == 1 && (device.revents & POLLERR);
}

int
channel_clone(const Channel *channel)
{
  guint32 device = (guint32)channel->device;
  autofd int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

  if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &device) < 0)
    return -1;
  return util_steal_fd(&fd);
}

gboolean
channel_resend(const Channel *channel)
{
  struct fuse_out_header out = {.len = sizeof out, .error = PROTOCOL_NOTIFY_RESEND};

  return write(channel->device, &out, sizeof out) == sizeof out;
}

void
channel_set_readahead(int mount_fd, gsize bytes)
{
  char text[64];
  struct statx st;

  /* As the kernel has it cached: there may be nobody yet to ask. */
  if (statx(mount_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
    return;
  snprintf(text, sizeof text, "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major,
           st.stx_dev_minor);
  autofd int fd = open(text, O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  snprintf(text, sizeof text, "%zu", bytes / 1024);
  if (write(fd, text, strlen(text)) < 0)
    return;
}
