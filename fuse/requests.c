/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "requests.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "util.h"

/* Seconds that the kernel may keep what it was told: a hundred years, as it knows no "for ever". */
#define REQUESTS_TIMEOUT (100.0 * 365 * 86400)
/* Files from this size on get their block count from the store's file, so that holes show; smaller
 * ones are reckoned full, which saves opening every file for a walk. */
#define REQUESTS_HOLES_FROM (1024 * 1024)
/* Below this size copying twice is faster than setting up a splice. */
#define REQUESTS_SPLICE_FROM (64 * 1024 + 1)

RequestContext *
request_context(fuse_req_t req)
{
  return fuse_req_userdata(req);
}

void
request_let_go(RequestContext *context)
{
  if (context->baton)
    pthread_mutex_unlock(context->baton);
  context->baton = NULL;
}

const Server *
request_server(fuse_req_t req)
{
  return request_context(req)->server;
}

guint64
request_nid(const Server *server, fuse_ino_t ino)
{
  return ino == FUSE_ROOT_ID ? index_root_nid(server->index) : ino - 2;
}

static fuse_ino_t
request_ino(const Server *server, guint64 nid)
{
  return nid == index_root_nid(server->index) ? FUSE_ROOT_ID : nid + 2;
}

void
request_fail(fuse_req_t req, int error)
{
  fuse_reply_err(req, error == -EUCLEAN ? EIO : -error);
}

/* Borrows as data_borrow() does; whoever has to open the file lets others go on meanwhile. */
static int
request_borrow(RequestContext *context, guint64 nid, guint64 size, DataLoan *ret_loan)
{
  const Server *server = context->server;

  if (data_borrow_open(server->data, nid, ret_loan))
    return 0;
  request_let_go(context);
  return data_borrow(server->data, server->index, nid, size, ret_loan);
}

static guint64
request_count_blocks(RequestContext *context, guint64 nid, const IndexStat *from)
{
  guint64 blocks = from->size / 4096 * 8 + (from->size % 4096 ? 8 : 0);
  DataLoan loan;
  struct stat st;

  if (!S_ISREG(from->mode) || from->size < REQUESTS_HOLES_FROM)
    return blocks;
  int error = request_borrow(context, nid, from->size, &loan);
  if (error < 0)
    return error == -ENODATA ? 0 : blocks;
  if (fstat(loan.fd, &st) == 0)
    blocks = (guint64)st.st_blocks;
  data_return(&loan);
  return blocks;
}

static int
request_stat(RequestContext *context, guint64 nid, struct stat *ret_st)
{
  const Server *server = context->server;
  IndexStat from;
  int error = index_stat(server->index, nid, &from);

  if (error < 0)
    return error;
  struct timespec time = {.tv_sec = from.mtime, .tv_nsec = from.mtime_nsec};
  *ret_st = (struct stat){
      .st_ino = nid,
      .st_mode = from.mode,
      .st_nlink = from.nlink,
      .st_uid = ids_map(server->ids.uids, from.uid),
      .st_gid = ids_map(server->ids.gids, from.gid),
      .st_rdev = makedev(from.rdev_major, from.rdev_minor),
      .st_size = (off_t)from.size,
      .st_blksize = 4096,
      .st_blocks = (blkcnt_t)request_count_blocks(context, nid, &from),
      .st_atim = time,
      .st_mtim = time,
      .st_ctim = time,
  };
  return 0;
}

static int
request_entry(RequestContext *context, guint64 nid, struct fuse_entry_param *ret_entry)
{
  struct fuse_entry_param entry = {
      .ino = request_ino(context->server, nid),
      .attr_timeout = REQUESTS_TIMEOUT,
      .entry_timeout = REQUESTS_TIMEOUT,
  };
  int error = request_stat(context, nid, &entry.attr);

  if (error == 0)
    *ret_entry = entry;
  return error;
}

static void
request_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
  const Server *server = request_server(req);
  guint64 nid = request_nid(server, parent);
  struct fuse_entry_param entry = {.entry_timeout = REQUESTS_TIMEOUT};
  gsize size = strlen(name);
  int error = 0;

  /* "." asks for the node itself, of any type: a file handle is being resolved. */
  if (size > NAME_MAX)
    error = -ENAMETOOLONG;
  else if (strcmp(name, ".") != 0)
    error = index_lookup(server->index, nid, name, size, &nid);
  if (error == 0)
    error = request_entry(request_context(req), nid, &entry);
  /* A name that is not there is kept as such. */
  else if (error == -ENOENT)
    error = 0;
  if (error < 0)
    request_fail(req, error);
  else
    fuse_reply_entry(req, &entry);
}

static void
request_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
  RequestContext *context = request_context(req);
  struct stat st;
  int error = request_stat(context, request_nid(context->server, ino), &st);

  if (error < 0)
    request_fail(req, error);
  else
    fuse_reply_attr(req, &st, REQUESTS_TIMEOUT);
}

static void
request_readlink(fuse_req_t req, fuse_ino_t ino)
{
  const Server *server = request_server(req);
  char *reply = request_context(req)->reply;
  const char *target;
  gsize size;
  int error = index_readlink(server->index, request_nid(server, ino), &target, &size);

  if (error == 0 && size >= PATH_MAX)
    error = -EUCLEAN;
  if (error < 0) {
    request_fail(req, error);
    return;
  }
  memcpy(reply, target, size);
  reply[size] = '\0';
  fuse_reply_readlink(req, reply);
}

typedef struct {
  fuse_req_t req;
  char *reply;
  gsize used, size;
  gboolean with_attributes;
  guint64 first_file, last_file; /* the least and greatest nid of a regular file */
} Listing;

static gsize
listing_add(const Listing *listing, const char *name, const struct fuse_entry_param *entry,
            guint64 next)
{
  char *at = listing->reply + listing->used;
  gsize left = listing->size - listing->used;

  if (listing->with_attributes)
    return fuse_add_direntry_plus(listing->req, at, left, name, entry, (off_t)next);
  return fuse_add_direntry(listing->req, at, left, name, &entry->attr, (off_t)next);
}

static gboolean
listing_emit(void *data, const char *name, gsize name_size, guint64 nid, unsigned type,
             guint64 next)
{
  Listing *listing = data;
  struct fuse_entry_param entry = {.attr = {.st_ino = nid, .st_mode = DTTOIF(type)}};
  char text[NAME_MAX + 1];
  gboolean is_dot = name[0] == '.' && (name_size == 1 || (name_size == 2 && name[1] == '.'));

  if (name_size > NAME_MAX)
    return FALSE;
  memcpy(text, name, name_size);
  text[name_size] = '\0';
  /* Without a node ID in it an entry is a mere name: for "." and "..", and for what cannot be read,
   * which is then the matter of whoever looks it up. */
  if (listing->with_attributes && !is_dot)
    request_entry(request_context(listing->req), nid, &entry);
  gsize size = listing_add(listing, text, &entry, next);
  if (size > listing->size - listing->used)
    return FALSE;
  listing->used += size;
  if (type == DT_REG) {
    listing->first_file = MIN(listing->first_file, nid);
    listing->last_file = MAX(listing->last_file, nid);
  }
  return TRUE;
}

static void
request_list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, gboolean with_attributes)
{
  const Server *server = request_server(req);
  Listing listing = {
      .req = req,
      .reply = request_context(req)->reply,
      .size = MIN(size, REQUESTS_REPLY_SIZE),
      .with_attributes = with_attributes,
      .first_file = G_MAXUINT64,
  };
  guint64 nid = request_nid(server, ino);
  int error = index_readdir(server->index, nid, (guint64)offset, listing_emit, &listing);

  /* What came before a corrupt entry is shown. */
  if (error < 0 && listing.used == 0)
    request_fail(req, error);
  else
    fuse_reply_buf(req, listing.reply, listing.used);
  if (server->ahead && listing.last_file)
    ahead_note_listing(server->ahead, nid, listing.first_file, listing.last_file);
}

static void
request_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *info)
{
  request_list(req, ino, size, offset, FALSE);
}

static void
request_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
  request_list(req, ino, size, offset, TRUE);
}

/* The kernel stops asking (FUSE_NO_OPEN_SUPPORT, FUSE_NO_OPENDIR_SUPPORT), and keeps contents and
 * listings cached as if told so by each open. */
static void
request_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
  fuse_reply_err(req, ENOSYS);
}

static void
request_reply_zeroes(fuse_req_t req, gsize size)
{
  static const char zeroes[64 * 1024];
  struct iovec parts[32];
  int count = 0;

  for (; size > 0 && count < (int)G_N_ELEMENTS(parts); count++) {
    parts[count].iov_base = (void *)zeroes;
    parts[count].iov_len = MIN(size, sizeof zeroes);
    size -= parts[count].iov_len;
  }
  fuse_reply_iov(req, parts, count);
}

/* Goes on after short reads; FALSE when the file ends early. What the kernel has cached comes at
 * once. */
static gboolean
request_read_all(fuse_req_t req, int fd, gsize size, off_t offset)
{
  RequestContext *context = request_context(req);
  struct iovec part = {.iov_base = context->reply, .iov_len = size};

  while (part.iov_len > 0) {
    gssize done = preadv2(fd, &part, 1, offset, context->baton ? RWF_NOWAIT : 0);
    if (context->baton && done <= 0) {
      request_let_go(context);
      continue;
    }
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return FALSE;
    part.iov_base = (char *)part.iov_base + done;
    part.iov_len -= (gsize)done;
    offset += done;
  }
  return TRUE;
}

static void
request_reply_content(fuse_req_t req, const DataLoan *loan, gsize size, off_t offset)
{
  struct fuse_bufvec content = FUSE_BUFVEC_INIT(size);

  if (size < REQUESTS_SPLICE_FROM) {
    if (request_read_all(req, loan->fd, size, offset))
      fuse_reply_buf(req, request_context(req)->reply, size);
    else
      fuse_reply_err(req, EIO);
    return;
  }
  request_let_go(request_context(req));
  /* All of it at once, and what will be asked for next: the store's file system would read ahead
   * in smaller steps. */
  posix_fadvise(loan->fd, offset, (off_t)(2 * size), POSIX_FADV_WILLNEED);
  content.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
  content.buf[0].fd = loan->fd;
  content.buf[0].pos = offset;
  fuse_reply_data(req, &content, 0);
}

static void
request_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
  const Server *server = request_server(req);
  guint64 nid = request_nid(server, ino);
  IndexStat st;
  DataLoan loan;
  int error = index_stat(server->index, nid, &st);

  if (error == 0 && !S_ISREG(st.mode))
    error = -EINVAL;
  if (error < 0) {
    request_fail(req, error);
    return;
  }
  if ((guint64)offset >= st.size) {
    fuse_reply_buf(req, NULL, 0);
    return;
  }
  size = MIN(size, st.size - (guint64)offset);
  error = request_borrow(request_context(req), nid, st.size, &loan);
  if (error == -ENODATA) {
    request_reply_zeroes(req, size);
  } else if (error < 0) {
    request_fail(req, error);
  } else {
    if (server->ahead && offset == 0)
      ahead_note_read(server->ahead, nid);
    request_reply_content(req, &loan, size, offset);
    data_return(&loan);
  }
}

/* SEEK_HOLE and SEEK_DATA; the kernel does the others by itself. */
static void
request_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
  const Server *server = request_server(req);
  guint64 nid = request_nid(server, ino);
  IndexStat st;
  DataLoan loan;
  int error = index_stat(server->index, nid, &st);

  request_let_go(request_context(req));
  if (error == 0)
    error = request_borrow(request_context(req), nid, st.size, &loan);
  if (error == -ENODATA && whence == SEEK_HOLE && (guint64)offset < st.size) {
    fuse_reply_lseek(req, offset);
    return;
  }
  if (error < 0) {
    request_fail(req, error == -ENODATA ? -ENXIO : error);
    return;
  }
  /* Moves the descriptor's offset, which nobody uses. */
  off_t result = lseek(loan.fd, offset, whence);
  error = errno;
  data_return(&loan);
  if (result < 0)
    fuse_reply_err(req, error);
  else
    fuse_reply_lseek(req, result);
}

/* What the kernel's EROFS would say of the same index. */
static void
request_statfs(fuse_req_t req, fuse_ino_t ino)
{
  const Server *server = request_server(req);
  struct statvfs st = {
      .f_bsize = 4096,
      .f_frsize = 4096,
      .f_blocks = server->index_blocks,
      .f_files = index_inode_count(server->index),
      .f_namemax = NAME_MAX,
  };

  fuse_reply_statfs(req, &st);
}

static void
requests_init(void *data, struct fuse_conn_info *connection)
{
  connection->want |= connection->capable & FUSE_CAP_SPLICE_WRITE;
}

static const struct fuse_lowlevel_ops request_operations = {
    .init = requests_init,
    .lookup = request_lookup,
    .getattr = request_getattr,
    .readlink = request_readlink,
    .open = request_open,
    .read = request_read,
    .opendir = request_open,
    .readdir = request_readdir,
    .readdirplus = request_readdirplus,
    .statfs = request_statfs,
    .getxattr = request_getxattr,
    .listxattr = request_listxattr,
    .lseek = request_lseek,
};

const struct fuse_lowlevel_ops *
requests_operations(void)
{
  return &request_operations;
}
