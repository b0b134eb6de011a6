/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest-escape.h"
#include "util.h"

/* The kernel's limits on an xattr's name and value (linux/limits.h). */
#define XATTR_NAME_LIMIT 255
#define XATTR_SIZE_LIMIT 65536

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
  Attributes set; /* the /set in force */
  GArray *xattrs; /* of TreeXattr: the entry's at hand; name and value owned */
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

/* A piece of a line. */
typedef struct {
  const char *data;
  gsize size;
} Token;

static gboolean
token_is(Token token, const char *text)
{
  return token.size == strlen(text) && memcmp(token.data, text, token.size) == 0;
}

static gboolean
parse_number(Token token, guint base, guint64 max, guint64 *ret_value)
{
  guint64 value = 0;

  if (token.size == 0 || token.size > 20)
    return FALSE;
  for (gsize i = 0; i < token.size; i++) {
    guint digit = (guint)(guchar)token.data[i] - '0';

    if (digit >= base || value > (max - digit) / base)
      return FALSE;
    value = value * base + digit;
  }
  *ret_value = value;
  return TRUE;
}

static gboolean
parse_guint32(Token token, guint base, guint64 max, guint32 *ret_value)
{
  guint64 value;

  if (!parse_number(token, base, max, &value))
    return FALSE;
  *ret_value = (guint32)value;
  return TRUE;
}

static gboolean
parse_type(Token token, guint32 *ret_type)
{
  static const struct {
    const char *name;
    guint32 type;
  } types[] = {{"file", S_IFREG},  {"dir", S_IFDIR},  {"link", S_IFLNK},   {"char", S_IFCHR},
               {"block", S_IFBLK}, {"fifo", S_IFIFO}, {"socket", S_IFSOCK}};

  for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
    if (token_is(token, types[i].name)) {
      *ret_type = types[i].type;
      return TRUE;
    }
  return FALSE;
}

/* "-12.000000034": seconds and nanoseconds of a timespec, so minus eleven seconds and a bit. */
static gboolean
parse_time(Token token, Attributes *attributes)
{
  gboolean negative = token.size > 0 && token.data[0] == '-';
  const char *dot = memchr(token.data, '.', token.size);
  Token seconds, fraction;
  guint64 value;

  if (dot == NULL)
    return FALSE;
  seconds.data = token.data + negative;
  seconds.size = (gsize)(dot - seconds.data);
  fraction.data = dot + 1;
  fraction.size = token.size - (gsize)(fraction.data - token.data);
  if (fraction.size != 9 || !parse_number(seconds, 10, G_MAXINT64, &value) ||
      !parse_guint32(fraction, 10, 999999999, &attributes->mtime_nsec))
    return FALSE;
  attributes->mtime = negative ? -(gint64)value : (gint64)value;
  return TRUE;
}

/* "native,MAJOR,MINOR", within Linux's 12 and 20 bits. */
static gboolean
parse_device(Token token, Attributes *attributes)
{
  static const char prefix[] = "native,";
  const char *comma;
  Token major, minor;

  if (token.size < sizeof prefix || memcmp(token.data, prefix, sizeof prefix - 1) != 0)
    return FALSE;
  major.data = token.data + sizeof prefix - 1;
  major.size = token.size - (sizeof prefix - 1);
  comma = memchr(major.data, ',', major.size);
  if (comma == NULL)
    return FALSE;
  minor.data = comma + 1;
  minor.size = major.size - (gsize)(minor.data - major.data);
  major.size = (gsize)(comma - major.data);
  return parse_guint32(major, 10, 0xfff, &attributes->rdev_major) &&
         parse_guint32(minor, 10, 0xfffff, &attributes->rdev_minor);
}

static int
base64_digit(char c)
{
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict base64 (RFC 4648): padded, and no stray bits at the end, so that a value has one spelling.
 * glib's decoder skips what it does not know. */
static guint8 *
decode_base64(Token token, gsize *ret_size)
{
  g_autofree guint8 *out = g_malloc(token.size / 4 * 3 + 1);
  gsize padding = 0, size = 0;
  guint32 bits = 0;

  if (token.size % 4 != 0)
    return NULL;
  while (padding < 2 && padding < token.size && token.data[token.size - 1 - padding] == '=')
    padding++;
  for (gsize i = 0; i < token.size; i++) {
    gboolean is_padding = i >= token.size - padding;
    int digit = is_padding ? 0 : base64_digit(token.data[i]);

    if (digit < 0)
      return NULL;
    bits = bits << 6 | (guint32)digit;
    if (i % 4 == 3) {
      out[size++] = (guint8)(bits >> 16);
      out[size++] = (guint8)(bits >> 8);
      out[size++] = (guint8)bits;
    }
  }
  for (gsize i = 0; i < padding; i++)
    if (out[--size] != 0)
      return NULL;
  out[size] = '\0';
  *ret_size = size;
  return g_steal_pointer(&out);
}

static gboolean
parse_xattr(Parser *parser, Token name, Token value, GError **error)
{
  TreeXattr xattr = {NULL, NULL, 0};
  char decoded[XATTR_NAME_LIMIT + 1];
  gssize size = -1;

  if (name.size <= 4 * XATTR_NAME_LIMIT) {
    g_autofree char *buffer = g_malloc(name.size + 1);

    size = manifest_unescape(name.data, name.size, buffer);
    if (size > XATTR_NAME_LIMIT)
      size = -1;
    if (size > 0)
      memcpy(decoded, buffer, (gsize)size);
  }
  if (size <= 0)
    return util_error(error, NIXSTORE_ERROR_INVALID, "malformed name of an xattr");
  decoded[size] = '\0';
  for (guint i = 0; i < parser->xattrs->len; i++)
    if (strcmp(g_array_index(parser->xattrs, TreeXattr, i).name, decoded) == 0)
      return util_error(error, NIXSTORE_ERROR_INVALID, "an xattr is given twice");
  xattr.value = decode_base64(value, &xattr.size);
  if (xattr.value == NULL || xattr.size > XATTR_SIZE_LIMIT) {
    g_free(xattr.value);
    return util_error(error, NIXSTORE_ERROR_INVALID, "malformed value of an xattr");
  }
  xattr.name = g_strdup(decoded);
  g_array_append_val(parser->xattrs, xattr);
  return TRUE;
}

/* Decodes "./usr/bin/env" (or ".") to "usr/bin/env" (or "") in @path of PATH_MAX bytes. */
static gboolean
parse_path(Token token, char *path, gsize *ret_size, GError **error)
{
  gssize size = 0;
  gsize start = 0;

  if (token.size == 1 && token.data[0] == '.') {
    path[0] = '\0';
    *ret_size = 0;
    return TRUE;
  }
  if (token.size < 3 || token.data[0] != '.' || token.data[1] != '/')
    return util_error(error, NIXSTORE_ERROR_INVALID, "a path that does not start with \"./\"");
  if (token.size - 2 < (gsize)4 * PATH_MAX) {
    g_autofree char *buffer = g_malloc(token.size);

    size = manifest_unescape(token.data + 2, token.size - 2, buffer);
    if (size > 0 && size < PATH_MAX)
      memcpy(path, buffer, (gsize)size);
  }
  if (size <= 0 || size >= PATH_MAX)
    return util_error(error, NIXSTORE_ERROR_INVALID, "a malformed or overlong path");
  path[size] = '\0';
  for (gsize i = 0; i <= (gsize)size; i++)
    if (path[i] == '/' || path[i] == '\0') {
      gsize length = i - start;
      const char *name = path + start;

      if (length == 0 || length > NAME_MAX || (length == 1 && name[0] == '.') ||
          (length == 2 && name[0] == '.' && name[1] == '.'))
        return util_error(error, NIXSTORE_ERROR_INVALID, "a path with a component that is no name");
      start = i + 1;
    }
  *ret_size = (gsize)size;
  return TRUE;
}

static gboolean
parse_hardlink(Parser *parser, Token value, Attributes *attributes, GError **error)
{
  char path[PATH_MAX];
  TreeNode *node;
  gsize size;

  if (!parse_path(value, path, &size, error))
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
keyword_is_ignored(Token key)
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
    if (token_is(key, ignored[i]))
      return TRUE;
  return FALSE;
}

/* The bit of @key, and with it the value parsed into @attributes; 0 when the value is malformed or
 * (KEY_IGNORED being a bit too) the key is unknown. */
static guint32
parse_simple_keyword(Token key, Token value, Attributes *attributes)
{
  /* chown(2) takes -1 for "leave it": no inode has that owner. */
  const guint64 max_id = G_MAXUINT32 - 1;

  if (token_is(key, "mode"))
    return parse_guint32(value, 8, 07777, &attributes->mode) ? KEY_MODE : 0;
  if (token_is(key, "time"))
    return parse_time(value, attributes) ? KEY_TIME : 0;
  if (token_is(key, "type"))
    return parse_type(value, &attributes->type) ? KEY_TYPE : 0;
  if (token_is(key, "uid"))
    return parse_guint32(value, 10, max_id, &attributes->uid) ? KEY_UID : 0;
  if (token_is(key, "gid"))
    return parse_guint32(value, 10, max_id, &attributes->gid) ? KEY_GID : 0;
  if (token_is(key, "device"))
    return parse_device(value, attributes) ? KEY_DEVICE : 0;
  return keyword_is_ignored(key) ? KEY_IGNORED : 0;
}

static gboolean
parse_keyword(Parser *parser, Token key, Token value, Attributes *attributes, guint32 *seen,
              GError **error)
{
  guint32 bit;

  if (key.size > 6 && memcmp(key.data, "xattr.", 6) == 0)
    return parse_xattr(parser, (Token){key.data + 6, key.size - 6}, value, error);
  if (token_is(key, "hardlink")) {
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
next_token(const char **position, const char *end, Token *ret_token)
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
  Token token;

  g_array_set_size(parser->xattrs, 0);
  while (next_token(&position, end, &token)) {
    const char *equals = memchr(token.data, '=', token.size);
    Token key = token, value = {token.data + token.size, 0};

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
  return TRUE;
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
  for (guint i = 0; i < parser->xattrs->len; i++) {
    const TreeXattr *xattr = &g_array_index(parser->xattrs, TreeXattr, i);
    tree_inode_set_xattr(inode, xattr->name, xattr->value, xattr->size);
  }
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
parse_entry(Parser *parser, Token path_token, const char *position, const char *end, GError **error)
{
  Attributes attributes = parser->set;
  char path[PATH_MAX];
  guint32 seen;
  gsize size;

  if (!parse_path(path_token, path, &size, error) ||
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
  Token token;

  if (!next_token(&position, end, &token) || token.data[0] == '#')
    return TRUE;
  if (token.data[0] != '/')
    return parse_entry(parser, token, position, end, error);
  if (token_is(token, "/set"))
    return parse_set(parser, position, end, error);
  return util_error(error, NIXSTORE_ERROR_INVALID, "an unknown directive");
}

static void
xattr_clear(gpointer data)
{
  TreeXattr *xattr = data;

  g_free(xattr->name);
  g_free(xattr->value);
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
  parser->xattrs = g_array_new(FALSE, FALSE, sizeof(TreeXattr));
  g_array_set_clear_func(parser->xattrs, xattr_clear);
  ok = parse_lines(parser, data, size, error);
  g_array_unref(parser->xattrs);
  return ok ? g_steal_pointer(&tree) : NULL;
}
