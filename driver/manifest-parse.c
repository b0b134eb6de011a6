/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest.h"

#include <limits.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest-escape.h"
#include "manifest-value.h"
#include "util.h"

enum {
  KEY_TYPE = 1 << 0,
  KEY_UID = 1 << 1,
  KEY_GID = 1 << 2,
  KEY_MODE = 1 << 3,
  KEY_TIME = 1 << 4,
  KEY_DEVICE = 1 << 5,
  KEY_HARDLINK = 1 << 6,
  KEY_IGNORED = 1 << 7,
  KEYS_NEEDED = KEY_TYPE | KEY_UID | KEY_GID | KEY_MODE | KEY_TIME,
  KEYS_SETTABLE = KEYS_NEEDED,
};

typedef struct {
  guint32 keys; /* which of the fields below were given */
  guint32 type, mode, uid, gid, mtime_nsec, rdev_major, rdev_minor;
  gint64 mtime;
  TreeInode *link; /* of hardlink=; borrowed */
} Attributes;

typedef struct {
  Tree *tree;
  Attributes set;    /* the /set in force */
  GArray *xattrs;    /* of TreeXattr: the line's at hand, as an inode has them; handed over to it */
  gsize xattr_names; /* bytes of their names */
  /* The path of the entry before and, for each component that is a directory, where in the path
   * it ends and its node: as entries are sorted, the parent of the next one is among them. */
  char path[PATH_MAX];
  gsize path_size;
  struct {
    gsize end;
    TreeNode *node;
  } stack[PATH_MAX / 2 + 2]; /* the root and every second byte of a path */
  gsize depth;
} Parser;

static void
start_xattrs(Parser *parser)
{
  parser->xattr_names = 0;
  if (parser->xattrs != NULL) {
    g_array_set_size(parser->xattrs, 0);
    return;
  }
  parser->xattrs = g_array_new(FALSE, FALSE, sizeof(TreeXattr));
  g_array_set_clear_func(parser->xattrs, tree_xattr_clear);
}

static int
compare_xattrs(gconstpointer a, gconstpointer b)
{
  return strcmp(((const TreeXattr *)a)->name, ((const TreeXattr *)b)->name);
}

/* Sorts those of the line. A name that is given twice shows then. */
static gboolean
finish_xattrs(Parser *parser, GError **error)
{
  g_array_sort(parser->xattrs, compare_xattrs);
  for (guint i = 1; i < parser->xattrs->len; i++)
    if (compare_xattrs(&g_array_index(parser->xattrs, TreeXattr, i - 1),
                       &g_array_index(parser->xattrs, TreeXattr, i)) == 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "an xattr is given twice");
  return TRUE;
}

static gboolean
parse_xattr(Parser *parser, ManifestToken name, ManifestToken value, GError **error)
{
  TreeXattr xattr = {NULL, NULL, 0};
  char decoded[XATTR_NAME_MAX + 1];
  gssize size = -1;

  if (name.size <= 4 * XATTR_NAME_MAX) {
    g_autofree char *buffer = g_malloc(name.size + 1);

    size = manifest_unescape(name.data, name.size, buffer);
    if (size > XATTR_NAME_MAX)
      size = -1;
    if (size > 0)
      memcpy(decoded, buffer, (gsize)size);
  }
  if (size <= 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "malformed name of an xattr");
  decoded[size] = '\0';
  if (g_str_has_prefix(decoded, "trusted.overlay."))
    return util_error(error, NIXSTORE_ERROR_INVALID, "an xattr of overlayfs");
  parser->xattr_names += (gsize)size + 1;
  if (parser->xattr_names > XATTR_LIST_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "more names of xattrs than the %d bytes that a file may have",
                      XATTR_LIST_MAX);
  xattr.value = manifest_decode_base64(value, &xattr.size);
  if (xattr.value == NULL || xattr.size > XATTR_SIZE_MAX) {
    g_free(xattr.value);
    return util_error(error, NIXSTORE_ERROR_INVALID, "malformed value of an xattr");
  }
  xattr.name = g_strdup(decoded);
  g_array_append_val(parser->xattrs, xattr);
  return TRUE;
}

static gboolean
parse_hardlink(Parser *parser, ManifestToken value, Attributes *attributes, GError **error)
{
  char path[PATH_MAX];
  TreeNode *node;
  gsize size;

  if (!manifest_parse_path(value, path, &size, error))
    return FALSE;
  node = tree_lookup_path(parser->tree, path);
  if (node == NULL || S_ISDIR(node->inode->mode))
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "a hard link to what is not an earlier entry or is a directory");
  attributes->link = node->inode;
  return TRUE;
}

/* What other tools write into such files and what says nothing of ownership. */
static gboolean
keyword_is_ignored(ManifestToken key)
{
  static const char *const ignored[] = {
      "size",
      "link",
      "nlink",
      "cksum",
      "md5",
      "md5digest",
      "sha1",
      "sha256",
      "sha256digest",
      "sha1digest",
      "sha384",
      "sha384digest",
      "sha512",
      "sha512digest",
      "rmd160",
      "rmd160digest",
      "ripemd160digest",
      "inode",
      "optional",
      "nochange",
      "content",
  };

  for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++)
    if (manifest_token_is(key, ignored[i]))
      return TRUE;
  return FALSE;
}

/* The bit of @key, and with it the value parsed into @attributes; 0 when the value is malformed or
 * (KEY_IGNORED being a bit too) the key is unknown. */
static guint32
parse_simple_keyword(ManifestToken key, ManifestToken value, Attributes *attributes)
{
  /* chown(2) takes -1 for "leave it": no inode has that owner. */
  const guint64 max_id = G_MAXUINT32 - 1;

  if (manifest_token_is(key, "mode"))
    return manifest_parse_number(value, 8, 07777, &attributes->mode) ? KEY_MODE : 0;
  if (manifest_token_is(key, "time"))
    return manifest_parse_time(value, &attributes->mtime, &attributes->mtime_nsec) ? KEY_TIME : 0;
  if (manifest_token_is(key, "type"))
    return manifest_parse_type(value, &attributes->type) ? KEY_TYPE : 0;
  if (manifest_token_is(key, "uid"))
    return manifest_parse_number(value, 10, max_id, &attributes->uid) ? KEY_UID : 0;
  if (manifest_token_is(key, "gid"))
    return manifest_parse_number(value, 10, max_id, &attributes->gid) ? KEY_GID : 0;
  if (manifest_token_is(key, "device"))
    return manifest_parse_device(value, &attributes->rdev_major, &attributes->rdev_minor)
               ? KEY_DEVICE
               : 0;
  return keyword_is_ignored(key) ? KEY_IGNORED : 0;
}

static gboolean
parse_keyword(Parser *parser, ManifestToken key, ManifestToken value, Attributes *attributes,
              guint32 *seen, GError **error)
{
  guint32 bit;

  if (key.size > 6 && memcmp(key.data, "xattr.", 6) == 0)
    return parse_xattr(parser, (ManifestToken){key.data + 6, key.size - 6}, value, error);
  if (manifest_token_is(key, "hardlink")) {
    if (!parse_hardlink(parser, value, attributes, error))
      return FALSE;
    bit = KEY_HARDLINK;
  } else {
    bit = parse_simple_keyword(key, value, attributes);
  }
  if (bit == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      "a keyword that is unknown or has a malformed value");
  if (bit != KEY_IGNORED && (*seen & bit) != 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a keyword is given twice");
  *seen |= bit;
  return TRUE;
}

static gboolean
next_token(const char **position, const char *end, ManifestToken *ret_token)
{
  const char *p = *position;

  while (p < end && (*p == ' ' || *p == '\t'))
    p++;
  ret_token->data = p;
  while (p < end && *p != ' ' && *p != '\t')
    p++;
  ret_token->size = (gsize)(p - ret_token->data);
  *position = p;
  return ret_token->size > 0;
}

/* Parses the keywords from @position to @end into @attributes; @seen becomes those given here. */
static gboolean
parse_keywords(Parser *parser, const char *position, const char *end, Attributes *attributes,
               guint32 *ret_seen, GError **error)
{
  guint32 seen = 0;
  ManifestToken token;

  start_xattrs(parser);
  while (next_token(&position, end, &token)) {
    const char *equals = memchr(token.data, '=', token.size);
    ManifestToken key = token, value = {token.data + token.size, 0};

    if (equals != NULL) {
      key.size = (gsize)(equals - token.data);
      value.data = equals + 1;
      value.size = token.size - key.size - 1;
    }
    if (!parse_keyword(parser, key, value, attributes, &seen, error))
      return FALSE;
  }
  attributes->keys |= seen;
  *ret_seen = seen;
  return finish_xattrs(parser, error);
}

static gboolean
parse_set(Parser *parser, const char *position, const char *end, GError **error)
{
  guint32 seen;

  if (!parse_keywords(parser, position, end, &parser->set, &seen, error))
    return FALSE;
  if ((seen & ~(guint32)KEYS_SETTABLE) != 0 || parser->xattrs->len > 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "/set of a keyword that cannot be set");
  return TRUE;
}

/* The order of whole paths: '/' before every other byte, and the end before that. */
static int
compare_paths(const char *a, gsize a_size, const char *b, gsize b_size)
{
  gsize shorter = MIN(a_size, b_size), i = 0;

  while (i < shorter && a[i] == b[i])
    i++;
  if (i == shorter)
    return a_size < b_size ? -1 : a_size > b_size;
  if (a[i] == '/' || b[i] == '/')
    return a[i] == '/' ? -1 : 1;
  return (guchar)a[i] < (guchar)b[i] ? -1 : 1;
}

/* Finds the parent of the next entry, @path, among the directories that the last entry was in, and
 * takes off the stack those that it is not in. */
static TreeNode *
enter_parent(Parser *parser, const char *path, gsize size, gsize *ret_name, GError **error)
{
  const char *slash = memrchr(path, '/', size);
  gsize parent_size = slash != NULL ? (gsize)(slash - path) : 0;

  if (compare_paths(parser->path, parser->path_size, path, size) >= 0) {
    util_error(error, NIXSTORE_ERROR_INVALID, "an entry that is out of order or a duplicate");
    return NULL;
  }
  while (parser->depth > 0) {
    gsize end = parser->stack[parser->depth - 1].end;

    if (end <= parent_size && (end == 0 || path[end] == '/') &&
        memcmp(parser->path, path, end) == 0)
      break;
    parser->depth--;
  }
  if (parser->depth == 0 || parser->stack[parser->depth - 1].end != parent_size) {
    util_error(error, NIXSTORE_ERROR_INVALID, "an entry whose parent is missing or no directory");
    return NULL;
  }
  *ret_name = slash != NULL ? parent_size + 1 : 0;
  return parser->stack[parser->depth - 1].node;
}

static void
inode_fill(Parser *parser, TreeInode *inode, const Attributes *attributes)
{
  inode->mode = attributes->type | attributes->mode;
  inode->uid = attributes->uid;
  inode->gid = attributes->gid;
  inode->mtime = attributes->mtime;
  inode->mtime_nsec = attributes->mtime_nsec;
  inode->rdev_major = attributes->rdev_major;
  inode->rdev_minor = attributes->rdev_minor;
  if (parser->xattrs->len > 0)
    inode->xattrs = g_steal_pointer(&parser->xattrs);
}

/* Whether the keywords of an entry go together. @seen: those on its own line. */
static gboolean
check_attributes(Parser *parser, const Attributes *attributes, guint32 seen, GError **error)
{
  gboolean is_device = attributes->type == S_IFCHR || attributes->type == S_IFBLK;

  if (attributes->link != NULL) {
    /* The group's attributes stand with its first name, and nowhere else. */
    if ((seen & (KEYS_NEEDED | KEY_DEVICE)) != 0 || parser->xattrs->len > 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "a hard link with attributes of its own");
    return TRUE;
  }
  if ((attributes->keys & KEYS_NEEDED) != KEYS_NEEDED)
    return util_error(error, NIXSTORE_ERROR_INVALID, "an entry without %s",
                      (attributes->keys & KEY_TIME) == 0 ? "time" : "type, uid, gid or mode");
  if (is_device != ((seen & KEY_DEVICE) != 0))
    return util_error(error, NIXSTORE_ERROR_INVALID,
                      is_device ? "a device without numbers" : "device numbers of no device");
  return TRUE;
}

static gboolean
add_root(Parser *parser, const Attributes *attributes, GError **error)
{
  TreeNode *root = tree_root(parser->tree);

  if (parser->depth > 0 || parser->path_size > 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a second root");
  if (attributes->link != NULL || attributes->type != S_IFDIR)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a root that is no directory");
  inode_fill(parser, root->inode, attributes);
  parser->stack[0].end = 0;
  parser->stack[0].node = root;
  parser->depth = 1;
  return TRUE;
}

static gboolean
add_entry(Parser *parser, const char *path, gsize size, const Attributes *attributes,
          GError **error)
{
  g_autoptr(TreeInode) inode = NULL;
  TreeNode *parent, *node;
  gsize name;

  parent = enter_parent(parser, path, size, &name, error);
  if (parent == NULL)
    return FALSE;
  if (attributes->link != NULL) {
    inode = tree_inode_ref(attributes->link);
  } else {
    inode = tree_inode_new(attributes->type);
    inode_fill(parser, inode, attributes);
  }
  node = tree_insert(parser->tree, parent, path + name, inode);
  memcpy(parser->path, path, size + 1);
  parser->path_size = size;
  if (S_ISDIR(inode->mode)) {
    parser->stack[parser->depth].end = size;
    parser->stack[parser->depth].node = node;
    parser->depth++;
  }
  return TRUE;
}

static gboolean
parse_entry(Parser *parser, ManifestToken path_token, const char *position, const char *end,
            GError **error)
{
  Attributes attributes = parser->set;
  char path[PATH_MAX];
  guint32 seen;
  gsize size;

  if (!manifest_parse_path(path_token, path, &size, error) ||
      !parse_keywords(parser, position, end, &attributes, &seen, error) ||
      !check_attributes(parser, &attributes, seen, error))
    return FALSE;
  if (size == 0)
    return add_root(parser, &attributes, error);
  return add_entry(parser, path, size, &attributes, error);
}

static gboolean
parse_line(Parser *parser, const char *line, const char *end, GError **error)
{
  const char *position = line;
  ManifestToken token;

  if (!next_token(&position, end, &token) || token.data[0] == '#')
    return TRUE;
  if (token.data[0] != '/')
    return parse_entry(parser, token, position, end, error);
  if (manifest_token_is(token, "/set"))
    return parse_set(parser, position, end, error);
  return util_error(error, NIXSTORE_ERROR_INVALID, "an unknown directive");
}

static gboolean
parse_lines(Parser *parser, const char *data, gsize size, GError **error)
{
  const char *line = data, *end = data + size;
  guint64 number = 0;

  while (line < end) {
    const char *newline = memchr(line, '\n', (gsize)(end - line));

    number++;
    if (newline == NULL)
      return util_error(error, NIXSTORE_ERROR_INVALID,
                        "manifest, line %" G_GUINT64_FORMAT ": cut off", number);
    if (!parse_line(parser, line, newline, error)) {
      g_prefix_error(error, "manifest, line %" G_GUINT64_FORMAT ": ", number);
      return FALSE;
    }
    line = newline + 1;
  }
  if (parser->depth == 0 && parser->path_size == 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "manifest: no root");
  return TRUE;
}

Tree *
manifest_parse(const char *data, gsize size, GError **error)
{
  g_autoptr(Tree) tree = tree_new();
  g_autofree Parser *parser = g_new0(Parser, 1);
  gboolean ok;

  if (size > MANIFEST_MAX_SIZE) {
    util_error(error, NIXSTORE_ERROR_INVALID, "manifest: larger than %d bytes", MANIFEST_MAX_SIZE);
    return NULL;
  }
  parser->tree = tree;
  ok = parse_lines(parser, data, size, error);
  g_clear_pointer(&parser->xattrs, g_array_unref);
  return ok ? g_steal_pointer(&tree) : NULL;
}
