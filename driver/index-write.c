/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The index is written in three walks over the tree, each in the same order (every directory's
 * entries together, so that a listing reads few blocks): count the xattrs and check, lay out,
 * write. Nothing about an inode is kept between the last two but its nid, and a directory's blocks:
 * placing is cheap and repeats.
 *
 * A directory's listing stands behind its inode. If it is long, or LISTING_INTERVAL inodes after
 * the last such, it has blocks of its own instead, directly before the inodes that it names. This
 * is for readahead: EROFS asks for inodes block by block, but reads blocks of a listing as one
 * reads a file, and the kernel then reads on as far ahead as it finds the file cached behind
 * (page_cache_sync_ra()). A walk over a cold index so waits for some twenty reads and not for every
 * block.
 */
#include "config.h"

#include "index.h"

#include <limits.h>
#include <string.h>

#include "erofs-format.h"
#include "index-write.h"
#include "util.h"

#define META_START (EROFS_SUPER_OFFSET + sizeof(ErofsSuper))
#define MAX_MAJOR 0xfffu
#define MAX_MINOR 0xfffffu

/* Inodes, of some 200 bytes each. More blocks would make the index larger, fewer leave gaps: Linux
 * reads at most 128 KiB ahead where nobody has set it. */
#define LISTING_INTERVAL 128

typedef struct {
  guint64 offset;   /* of the inode, in the file */
  gsize xattr_size; /* after it */
  guint64 size;     /* i_size */
  gsize tail;       /* inline bytes, after the xattrs: all of the content, or none */
  guint64 block;    /* the content's first, if it is not inline */
  guint64 chunks;   /* in the chunk map, after the xattrs */
  guint8 layout;
} Place;

typedef struct {
  TreeNode **children;
  gsize count, next;
  gsize path_size;
} Frame;

typedef struct {
  Tree *tree;
  const char *const *prefixes;
  gsize n_prefixes;
  IndexXattrs *xattrs;
  GHashTable *links; /* TreeInode with several names -> its first path, from the root with '/' */
  /* TreeNode of a directory with blocks of its own -> the first one's number, 0 before laid out */
  GHashTable *listings;
  GArray *frames;    /* the walk's directories, outermost first */
  GString *path;     /* the walk's current directory, "" or "/usr/bin" */
  GString *redirect; /* scratch */
  guint64 cursor;    /* where the next thing goes, in bytes */
  gsize shared_size;
  guint64 inodes;
  IndexStream stream;
} Writer;

static void
writer_clear(Writer *w)
{
  g_clear_pointer(&w->xattrs, index_xattrs_free);
  g_clear_pointer(&w->links, g_hash_table_unref);
  g_clear_pointer(&w->listings, g_hash_table_unref);
  g_clear_pointer(&w->frames, g_array_unref);
  if (w->path != NULL)
    g_string_free(w->path, TRUE);
  if (w->redirect != NULL)
    g_string_free(w->redirect, TRUE);
  index_stream_clear(&w->stream);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Writer, writer_clear)

static TreeNode *
walk_enter(Writer *w, TreeNode *dir)
{
  Frame frame = {.path_size = w->path->len};

  frame.children = tree_children(dir, &frame.count);
  g_array_append_val(w->frames, frame);
  return dir;
}

/* Starts a walk over all directories, in tree order; w->path is the directory's. */
static TreeNode *
walk_first(Writer *w)
{
  g_array_set_size(w->frames, 0);
  g_string_truncate(w->path, 0);
  return walk_enter(w, tree_root(w->tree));
}

static TreeNode *
walk_next(Writer *w)
{
  while (w->frames->len > 0) {
    Frame *frame = &g_array_index(w->frames, Frame, w->frames->len - 1);

    while (frame->next < frame->count) {
      TreeNode *node = frame->children[frame->next++];

      if (!S_ISDIR(node->inode->mode))
        continue;
      g_string_truncate(w->path, frame->path_size);
      g_string_append_c(w->path, '/');
      g_string_append(w->path, node->name);
      return walk_enter(w, node);
    }
    g_array_set_size(w->frames, w->frames->len - 1);
  }
  return NULL;
}

/* Whether path @a comes before @b in tree order. */
static gboolean
path_is_before(const char *a, const char *b)
{
  while (*a == *b && *a != '\0') {
    a++;
    b++;
  }
  if (*a == '/' || *b == '/')
    return *a == '/';
  return (guchar)*a < (guchar)*b;
}

/* The inode of a further name has been counted. What names the content is the first name in tree
 * order, which need not be the first one that the walk comes by. */
static gboolean
count_link(Writer *w, TreeInode *inode, const char *name)
{
  g_autofree char *path = g_strconcat(w->path->str, "/", name, NULL);
  const char *known = g_hash_table_lookup(w->links, inode);

  if (known == NULL || path_is_before(path, known))
    g_hash_table_insert(w->links, inode, g_steal_pointer(&path));
  return known != NULL;
}

static gboolean
check_device(const TreeInode *inode, GError **error)
{
  if (inode->rdev_major > MAX_MAJOR || inode->rdev_minor > MAX_MINOR)
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "Device %u:%u is out of EROFS's range",
                      inode->rdev_major, inode->rdev_minor);
  if (S_ISCHR(inode->mode) && inode->rdev_major == 0 && inode->rdev_minor == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "A character device 0:0 is a whiteout and cannot stand in an index");
  return TRUE;
}

static gboolean
check_inode(const TreeInode *inode, GError **error)
{
  switch (inode->mode & S_IFMT) {
  case S_IFREG:
    if (inode->size > G_MAXINT64)
      return util_error(error, NIXSTORE_ERROR_INVALID, "Its size is out of range");
    return TRUE;
  case S_IFLNK:
    if (inode->target == NULL || *inode->target == '\0')
      return util_error(error, NIXSTORE_ERROR_INVALID, "The symlink has no target");
    if (strlen(inode->target) >= PATH_MAX)
      return util_error(error, NIXSTORE_ERROR_INVALID, "The symlink's target is over %d bytes",
                        PATH_MAX - 1);
    return TRUE;
  case S_IFCHR:
  case S_IFBLK:
    return check_device(inode, error);
  case S_IFDIR:
  case S_IFIFO:
  case S_IFSOCK:
    return TRUE;
  default:
    return util_error(error, NIXSTORE_ERROR_INVALID, "It is of no known type");
  }
}

static gboolean
count_inode(Writer *w, TreeInode *inode, const char *name, GError **error)
{
  if (inode->nlink > 1 && count_link(w, inode, name))
    return TRUE;
  inode->nid = 0;
  w->inodes++;
  if (check_inode(inode, error) && index_xattrs_count(w->xattrs, inode, error))
    return TRUE;
  g_autofree char *path = g_strconcat(w->path->str, "/", name, NULL);
  g_autofree char *shown = util_escape(path);
  g_prefix_error(error, "Write `%s` to the index: ", shown);
  return FALSE;
}

static gboolean
count_tree(Writer *w, GError **error)
{
  guint64 next_listing = 0;

  if (!count_inode(w, tree_root(w->tree)->inode, "", error))
    return FALSE;
  for (TreeNode *dir = walk_first(w); dir != NULL; dir = walk_next(w)) {
    gsize count;
    TreeNode **children = tree_children(dir, &count);

    if (w->inodes >= next_listing && count > 0) {
      g_hash_table_insert(w->listings, dir, NULL);
      next_listing = w->inodes + LISTING_INTERVAL;
    }
    for (gsize i = 0; i < count; i++)
      if (!count_inode(w, children[i]->inode, children[i]->name, error))
        return FALSE;
  }
  return TRUE;
}

/* Sets w->redirect for the @inode that the walk found as @name; it is empty for what has no
 * content. Returns its length. */
static gsize
make_redirect(Writer *w, const TreeInode *inode, const char *name)
{
  GString *redirect = w->redirect;

  g_string_truncate(redirect, 0);
  if (!S_ISREG(inode->mode) || inode->size == 0)
    return 0;
  if (w->n_prefixes > 0)
    g_string_append(redirect, w->prefixes[inode->content_layer]);
  if (inode->content_path != NULL) {
    g_string_append_c(redirect, '/');
    g_string_append(redirect, inode->content_path);
  } else if (inode->nlink > 1) {
    g_string_append(redirect, g_hash_table_lookup(w->links, inode));
  } else {
    g_string_append_len(redirect, w->path->str, (gssize)w->path->len);
    g_string_append_c(redirect, '/');
    g_string_append(redirect, name);
  }
  return redirect->len;
}

/* Finds the content of @place, a directory or a symlink, its place behind the inode if it may stand
 * there and fits into the inode's block or the next one. */
static void
place_inline(Place *place, gsize header)
{
  if ((place->offset + header) % EROFS_BLOCK_SIZE + place->size > EROFS_BLOCK_SIZE) {
    if (header % EROFS_BLOCK_SIZE + place->size > EROFS_BLOCK_SIZE)
      return;
    place->offset = erofs_align(place->offset, EROFS_BLOCK_SIZE);
  }
  place->layout = EROFS_LAYOUT_INLINE;
  place->tail = place->size;
}

/* Finds @node's inode its place and moves the cursor past it. The same calls in the same order
 * give the same places. */
static Place
place_inode(Writer *w, TreeNode *node, gsize xattr_size)
{
  const TreeInode *inode = node->inode;
  Place place = {.offset = w->cursor, .xattr_size = xattr_size, .layout = EROFS_LAYOUT_PLAIN};
  gsize header = sizeof(ErofsInode) + xattr_size;
  gpointer listing;

  /* No inode crosses a block: legal, but the kernel then copies it. */
  if (EROFS_BLOCK_SIZE - place.offset % EROFS_BLOCK_SIZE < sizeof(ErofsInode))
    place.offset = erofs_align(place.offset, EROFS_BLOCK_SIZE);

  if (S_ISDIR(inode->mode)) {
    place.size = index_dir_measure(node);
    if (g_hash_table_lookup_extended(w->listings, node, NULL, &listing)) {
      place.block = GPOINTER_TO_SIZE(listing);
    } else {
      place_inline(&place, header);
      if (place.tail == 0)
        g_hash_table_insert(w->listings, node, NULL);
    }
  } else if (S_ISLNK(inode->mode)) {
    place.size = strlen(inode->target);
    place_inline(&place, header);
    if (place.tail == 0)
      place.block = erofs_align(place.offset + header, EROFS_BLOCK_SIZE) / EROFS_BLOCK_SIZE;
  } else if (S_ISREG(inode->mode) && inode->size > 0) {
    place.layout = EROFS_LAYOUT_CHUNKS;
    place.size = inode->size;
    place.chunks = ((inode->size - 1) >> EROFS_CHUNK_MAX_BITS) + 1;
  }
  w->cursor = erofs_align(place.offset + header + place.tail + 4 * place.chunks, EROFS_SLOT_SIZE);
  if (S_ISLNK(inode->mode) && place.tail == 0)
    w->cursor = (place.block + 1) * EROFS_BLOCK_SIZE;
  return place;
}

/* Moves the cursor past the blocks that @dir's listing has, if any. Returns the first one's number
 * or 0. */
static guint64
place_listing(Writer *w, TreeNode *dir)
{
  if (!g_hash_table_contains(w->listings, dir))
    return 0;
  w->cursor = erofs_align(w->cursor, EROFS_BLOCK_SIZE);
  guint64 block = w->cursor / EROFS_BLOCK_SIZE;
  w->cursor += erofs_align(index_dir_measure(dir), EROFS_BLOCK_SIZE);
  return block;
}

static gboolean
lay_out_inode(Writer *w, TreeNode *node, GError **error)
{
  gsize redirect_size = make_redirect(w, node->inode, node->name);
  gsize xattr_size = index_xattrs_measure(w->xattrs, node->inode, redirect_size);
  Place place;

  if (xattr_size > EROFS_XATTR_MAX_SIZE || redirect_size >= PATH_MAX) {
    g_autofree char *path = tree_node_path(node);
    g_autofree char *shown = util_escape(path);
    return util_error(error, NIXSTORE_ERROR_UNSUPPORTED, "Write `/%s` to the index: its %s", shown,
                      redirect_size >= PATH_MAX ? "path is too long for overlayfs"
                                                : "extended attributes are too large for EROFS");
  }
  place = place_inode(w, node, xattr_size);
  node->inode->nid = place.offset >> EROFS_SLOT_BITS;
  return TRUE;
}

static gboolean
lay_out_tree(Writer *w, GError **error)
{
  w->cursor = META_START;
  if (!lay_out_inode(w, tree_root(w->tree), error))
    return FALSE;
  for (TreeNode *dir = walk_first(w); dir != NULL; dir = walk_next(w)) {
    gsize count;
    TreeNode **children = tree_children(dir, &count);
    guint64 block = place_listing(w, dir);

    if (block != 0)
      g_hash_table_insert(w->listings, dir, GSIZE_TO_POINTER(block));
    for (gsize i = 0; i < count; i++)
      if (children[i]->inode->nid == 0 && !lay_out_inode(w, children[i], error))
        return FALSE;
  }
  return TRUE;
}

static guint32
inode_data(const TreeInode *inode, const Place *place)
{
  guint32 major = inode->rdev_major, minor = inode->rdev_minor;

  if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) /* the kernel's new_encode_dev() */
    return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
  if (place->layout == EROFS_LAYOUT_CHUNKS)
    return EROFS_CHUNK_BITS_MASK;
  return S_ISREG(inode->mode) ? EROFS_NULL_BLOCK : (guint32)place->block;
}

static void
store_inode(TreeNode *node, const Place *place, guint8 *out)
{
  const TreeInode *inode = node->inode;
  gsize xattrs = place->xattr_size;
  ErofsInode disk = {
      .format = GUINT16_TO_LE(
          (guint16)(EROFS_INODE_EXTENDED | place->layout << EROFS_INODE_LAYOUT_SHIFT)),
      .xattr_count =
          GUINT16_TO_LE((guint16)(xattrs > 0 ? (xattrs - sizeof(ErofsXattrHeader)) / 4 + 1 : 0)),
      .mode = GUINT16_TO_LE((guint16)inode->mode),
      .size = GUINT64_TO_LE(place->size),
      .data = GUINT32_TO_LE(inode_data(inode, place)),
      .ino = GUINT32_TO_LE((guint32)inode->nid),
      .uid = GUINT32_TO_LE(inode->uid),
      .gid = GUINT32_TO_LE(inode->gid),
      .mtime = GUINT64_TO_LE((guint64)inode->mtime),
      .mtime_nsec = GUINT32_TO_LE(inode->mtime_nsec),
      .nlink = GUINT32_TO_LE(S_ISDIR(inode->mode) ? index_dir_link_count(node) : inode->nlink),
  };

  memcpy(out, &disk, sizeof disk);
}

static void
write_chunks(IndexStream *meta, guint64 chunks)
{
  while (chunks > 0) {
    gsize some = MIN(chunks, INDEX_STREAM_MAX_RESERVE / 4);

    /* Every byte of EROFS_NULL_BLOCK: a hole. */
    memset(index_stream_reserve(meta, 4 * some), 0xff, 4 * some);
    chunks -= some;
  }
}

static void
write_inode(Writer *w, TreeNode *node)
{
  const TreeInode *inode = node->inode;
  gsize redirect_size = make_redirect(w, inode, node->name);
  gsize xattr_size = index_xattrs_measure(w->xattrs, inode, redirect_size);
  Place place = place_inode(w, node, xattr_size);
  guint8 *out;

  g_assert(place.offset >> EROFS_SLOT_BITS == inode->nid);
  index_stream_pad(&w->stream, place.offset);
  out = index_stream_reserve(&w->stream, sizeof(ErofsInode) + xattr_size + place.tail);
  store_inode(node, &place, out);
  out += sizeof(ErofsInode);
  index_xattrs_store(w->xattrs, inode, w->redirect->str, redirect_size, out);
  out += xattr_size;
  write_chunks(&w->stream, place.chunks);
  if (S_ISDIR(inode->mode) && place.tail > 0) {
    index_dir_store_inline(node, out);
  } else if (S_ISLNK(inode->mode)) {
    if (place.tail == 0) {
      index_stream_pad(&w->stream, place.block * EROFS_BLOCK_SIZE);
      out = index_stream_reserve(&w->stream, EROFS_BLOCK_SIZE);
    }
    memcpy(out, inode->target, place.size);
  }
}

static void
write_listing(Writer *w, TreeNode *dir)
{
  guint64 block = place_listing(w, dir);

  if (block == 0)
    return;
  index_stream_pad(&w->stream, block * EROFS_BLOCK_SIZE);
  index_dir_store(dir, &w->stream);
}

static void
write_tree(Writer *w)
{
  w->cursor = META_START;
  write_inode(w, tree_root(w->tree));
  for (TreeNode *dir = walk_first(w); dir != NULL; dir = walk_next(w)) {
    gsize count;
    TreeNode **children = tree_children(dir, &count);

    write_listing(w, dir);
    for (gsize i = 0; i < count; i++)
      /* What another name led to before lies behind the stream's end. */
      if (children[i]->inode->nid << EROFS_SLOT_BITS >= index_stream_tell(&w->stream))
        write_inode(w, children[i]);
  }
}

static void
write_shared(Writer *w, guint64 start, gsize size)
{
  g_autofree guint8 *shared = g_malloc0(size);

  index_stream_pad(&w->stream, start);
  index_xattrs_store_shared(w->xattrs, shared);
  for (gsize done = 0; done < size;) {
    gsize some = MIN(size - done, INDEX_STREAM_MAX_RESERVE);

    memcpy(index_stream_reserve(&w->stream, some), shared + done, some);
    done += some;
  }
}

/* The block that holds the superblock; last, so that a half-written index is none. */
static int
write_super(const Writer *w, int fd, guint64 xattr_start, guint64 end, const guint8 *digest)
{
  guint8 block[EROFS_BLOCK_SIZE];
  const gsize covered = EROFS_BLOCK_SIZE - EROFS_SUPER_OFFSET;
  ErofsSuper super = {
      .magic = GUINT32_TO_LE(EROFS_SUPER_MAGIC),
      .feature_compat =
          GUINT32_TO_LE(EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME | EROFS_COMPAT_XATTR_FILTER),
      .block_bits = EROFS_BLOCK_BITS,
      .root_nid = GUINT16_TO_LE((guint16)tree_root(w->tree)->inode->nid),
      .inodes = GUINT64_TO_LE(w->inodes),
      .blocks = GUINT32_TO_LE((guint32)(end / EROFS_BLOCK_SIZE)),
      .xattr_block = GUINT32_TO_LE((guint32)(xattr_start / EROFS_BLOCK_SIZE)),
      .feature_incompat = GUINT32_TO_LE(EROFS_INCOMPAT_CHUNKED_FILE),
  };
  ssize_t n;

  memcpy(super.uuid, digest, sizeof super.uuid);
  g_strlcpy((char *)super.volume_name,
            index_xattrs_any(w->xattrs) ? EROFS_INDEX_NAME_XATTRS : EROFS_INDEX_NAME,
            sizeof super.volume_name);

  n = pread(fd, block, sizeof block, 0);
  if (n != (ssize_t)sizeof block)
    return n < 0 ? errno : EIO;
  memset(block, 0, EROFS_SUPER_OFFSET);
  memcpy(block + EROFS_SUPER_OFFSET, &super, sizeof super);
  super.checksum = GUINT32_TO_LE(erofs_crc32c(G_MAXUINT32, block + EROFS_SUPER_OFFSET, covered));
  memcpy(block + EROFS_SUPER_OFFSET, &super, sizeof super);
  n = pwrite(fd, block, sizeof block, 0);
  return n == (ssize_t)sizeof block ? 0 : n < 0 ? errno : EIO;
}

/* Writes everything, the layout being known. Returns 0 or an errno. */
static int
write_all(Writer *w, int fd)
{
  guint64 xattr_start = erofs_align(w->cursor, EROFS_BLOCK_SIZE);
  guint64 end = erofs_align(xattr_start + w->shared_size, EROFS_BLOCK_SIZE);
  guint8 digest[INDEX_DIGEST_SIZE];
  int error;

  if (end / EROFS_BLOCK_SIZE >= EROFS_NULL_BLOCK)
    return EFBIG;

  index_stream_init(&w->stream, fd, META_START);
  write_tree(w);
  write_shared(w, xattr_start, w->shared_size);
  index_stream_pad(&w->stream, end);
  error = index_stream_finish(&w->stream, digest);
  if (error != 0)
    return error;
  /* An RFC 4122 UUID of no clock: overlayfs tells layers apart by it. */
  digest[6] = (digest[6] & 0x0f) | 0x80;
  digest[8] = (digest[8] & 0x3f) | 0x80;
  return write_super(w, fd, xattr_start, end, digest);
}

gboolean
index_write(Tree *tree, int fd, const char *const *prefixes, gsize n_prefixes, GError **error)
{
  g_auto(Writer) w = {.tree = tree, .prefixes = prefixes, .n_prefixes = n_prefixes};
  int failure;

  w.xattrs = index_xattrs_new();
  w.links = g_hash_table_new_full(NULL, NULL, NULL, g_free);
  w.listings = g_hash_table_new(NULL, NULL);
  w.frames = g_array_new(FALSE, FALSE, sizeof(Frame));
  w.path = g_string_new(NULL);
  w.redirect = g_string_new(NULL);
  if (!count_tree(&w, error))
    return FALSE;
  w.shared_size = index_xattrs_settle(w.xattrs);
  if (!lay_out_tree(&w, error))
    return FALSE;
  failure = write_all(&w, fd);
  if (failure != 0) {
    errno = failure;
    return util_error_errno(error, "Write the index");
  }
  return TRUE;
}
