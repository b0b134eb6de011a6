/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mounts of the FUSE filesystem of an image: nixstore-fuse(8) is started when no server for the
 * same image and mapping of this user is there yet. The other end is fuse/share. Stands on
 * handover, idmap, settings and util.
 *
 * A server listens at <runtime directory>/nixstore/<key>; it is found and started under an
 * exclusive flock(2) on that directory, so that two who come at once get one server. A service or
 * scope of systemd's has servers of its own. A server leaves by itself when the kernel has no mount
 * of its filesystem any more, wherever those went. Who comes while it is leaving gets no mount, and
 * starts another.
 */
#pragma once

#include <glib.h>

typedef struct {
  int index_fd;              /* the index, a regular file */
  char **data;               /* the directories that hold the contents */
  const GArray *uids, *gids; /* of IdRange; NULL: not mapped */
  gboolean passthrough;      /* files read by the kernel alone, where it does that */
} FuseserverImage;

/* A detached mount of the filesystem of @image, ids mapped. UNSUPPORTED where FUSE cannot be used.
 * A server that is started lives in this process's mount namespace, so that must not be a passing
 * one; with @may_start FALSE only a server that is there already gives one. */
int fuseserver_mount(const FuseserverImage *image, gboolean may_start, GError **error);

/* Whether the kernel would read files beneath the directory @data by itself (passthrough); @error
 * says why not. */
gboolean fuseserver_try_passthrough(const char *data, GError **error);

/* The innermost service or scope of systemd's (but Podman's own) in @cgroups, the text of
 * /proc/PID/cgroup (cgroups(7)), by the path of its control group; NULL outside of them. Caller
 * frees. */
char *fuseserver_find_unit(const char *cgroups);

/* Where this user's servers have their sockets; NULL without an error where there is no such place:
 * then each mount has a server of its own. */
char *fuseserver_directory(void);

/* Opens @directory and waits for the lock that keeps servers from being started: it goes with the
 * descriptor. */
int fuseserver_lock(const char *directory, GError **error);

/* Whether a server listens at the socket @name in the locked directory @lock. */
gboolean fuseserver_is_there(int lock, const char *name);
