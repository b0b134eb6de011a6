/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Extended attributes. The mount is mostly a lower layer of overlayfs, which obeys xattrs named
 * trusted.overlay.* and user.overlay.*; those of the image itself are shown with one "overlay."
 * more in their names, as Documentation/filesystems/overlayfs.rst says ("Nesting overlayfs
 * mounts"), so that overlayfs takes it away again and obeys nothing.
 */
#include "config.h"

#include "requests.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define XATTR_ESCAPE "overlay."
/* What is left for the index when the escapes have room too: far more than any inode has. */
#define XATTR_LIST_SIZE (REQUESTS_REPLY_SIZE / 2)

/* The part of @name that follows "trusted.overlay." or "user.overlay."; NULL for other names. */
static const char *
xattr_find_overlay(const char *name)
{
  if (g_str_has_prefix(name, "trusted." XATTR_ESCAPE))
    return name + strlen("trusted." XATTR_ESCAPE);
  if (g_str_has_prefix(name, "user." XATTR_ESCAPE))
    return name + strlen("user." XATTR_ESCAPE);
  return NULL;
}

gboolean
request_is_overlay_xattr(const char *name)
{
  const char *rest = xattr_find_overlay(name);

  return rest && !g_str_has_prefix(rest, XATTR_ESCAPE);
}

static void
xattr_reply(fuse_req_t req, gssize length, gsize size)
{
  if (length < 0)
    request_fail(req, (int)length);
  else if (size == 0)
    fuse_reply_xattr(req, (gsize)length);
  else if ((gsize)length > size)
    fuse_reply_err(req, ERANGE);
  else
    fuse_reply_buf(req, request_context(req)->reply, (gsize)length);
}

void
request_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
  const Server *server = request_server(req);
  char *reply = request_context(req)->reply;
  const char *rest = xattr_find_overlay(name);
  char unescaped[NAME_MAX + 1];

  /* ENOSYS: never ask again. */
  if (!index_has_xattrs(server->index)) {
    fuse_reply_err(req, ENOSYS);
    return;
  }
  if (rest) {
    if (!g_str_has_prefix(rest, XATTR_ESCAPE) || strlen(name) > NAME_MAX) {
      fuse_reply_err(req, ENODATA);
      return;
    }
    g_strlcpy(unescaped, name, (gsize)(rest - name) + 1);
    g_strlcat(unescaped, rest + strlen(XATTR_ESCAPE), sizeof unescaped);
    name = unescaped;
  }
  gboolean is_mapped = ids_concern_xattr(&server->ids, name);
  gboolean is_wanted = size > 0 || is_mapped;
  gssize length =
      index_getxattr(server->index, request_nid(server, ino), name, is_wanted ? reply : NULL,
                     is_wanted ? REQUESTS_REPLY_SIZE - IDS_XATTR_GROWTH : 0);
  if (length > 0 && is_mapped)
    length = ids_map_xattr(&server->ids, name, reply, (gsize)length);
  xattr_reply(req, length, size);
}

/* Escapes in the @length bytes of names at @list, which has room for twice as much. */
static gsize
xattr_escape_list(char *list, gsize length)
{
  for (char *name = list; name < list + length; name += strlen(name) + 1) {
    const char *rest = xattr_find_overlay(name);
    if (!rest)
      continue;
    char *at = name + (rest - name);
    memmove(at + strlen(XATTR_ESCAPE), at, (gsize)(list + length - at));
    memcpy(at, XATTR_ESCAPE, strlen(XATTR_ESCAPE));
    length += strlen(XATTR_ESCAPE);
  }
  return length;
}

void
request_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
  const Server *server = request_server(req);
  char *reply = request_context(req)->reply;

  if (!index_has_xattrs(server->index)) {
    fuse_reply_err(req, ENOSYS);
    return;
  }
  gssize length = index_listxattr(server->index, request_nid(server, ino), reply, XATTR_LIST_SIZE);
  if (length > 0)
    length = (gssize)xattr_escape_list(reply, (gsize)length);
  xattr_reply(req, length, size);
}
