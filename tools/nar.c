/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nar.h"
#include "image.h"

#include <string.h>
#include <sys/stat.h>

/* An inode's mark: it is in the archive already, under an earlier name. */
#define MARK_WRITTEN 1

typedef struct {
  Stage *stage;
  NarSink sink;
  void *sink_data;
  guint8 *piece;
  gsize filled; /* bytes of @piece */
} Nar;

static gboolean
nar_flush(Nar *nar, GError **error)
{
  gsize size = nar->filled;

  nar->filled = 0;
  return size == 0 || nar->sink(nar->sink_data, nar->piece, size, error);
}

static gboolean
nar_bytes(Nar *nar, const void *data, gsize size, GError **error)
{
  const guint8 *next = data;

  while (size > 0) {
    gsize part = MIN(size, NAR_PIECE_SIZE - nar->filled);

    memcpy(nar->piece + nar->filled, next, part);
    nar->filled += part;
    next += part;
    size -= part;
    if (nar->filled == NAR_PIECE_SIZE && !nar_flush(nar, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
nar_number(Nar *nar, guint64 number, GError **error)
{
  guint64 little = GUINT64_TO_LE(number);

  return nar_bytes(nar, &little, sizeof little, error);
}

/* To a multiple of eight bytes. */
static gboolean
nar_pad(Nar *nar, guint64 size, GError **error)
{
  static const guint8 zeroes[8];

  return nar_bytes(nar, zeroes, (8 - size % 8) % 8, error);
}

static gboolean
nar_data(Nar *nar, const void *data, gsize size, GError **error)
{
  return nar_number(nar, size, error) && nar_bytes(nar, data, size, error) &&
         nar_pad(nar, size, error);
}

/* All of @words, up to NULL. */
static gboolean
nar_word_list(Nar *nar, const char *const *words, GError **error)
{
  for (; *words != NULL; words++)
    if (!nar_data(nar, *words, strlen(*words), error))
      return FALSE;
  return TRUE;
}
#define nar_words(nar, error, ...)                                                                 \
  nar_word_list(nar, (const char *const[]){__VA_ARGS__, NULL}, error)

static gboolean
nar_content(Nar *nar, const TreeInode *inode, GError **error)
{
  if (!nar_number(nar, inode->size, error))
    return FALSE;
  for (guint64 done = 0; done < inode->size;) {
    gsize size = (gsize)MIN(inode->size - done, NAR_PIECE_SIZE - nar->filled);

    if (!stage_read(nar->stage, inode, nar->piece + nar->filled, size, done, error))
      return FALSE;
    nar->filled += size;
    done += size;
    if (nar->filled == NAR_PIECE_SIZE && !nar_flush(nar, error))
      return FALSE;
  }
  return nar_pad(nar, inode->size, error);
}

static gboolean
nar_file(Nar *nar, const TreeInode *inode, GError **error)
{
  return nar_words(nar, error, "type", "regular") &&
         (!stage_is_executable(inode) || nar_words(nar, error, "executable", "")) &&
         nar_words(nar, error, "contents") && nar_content(nar, inode, error);
}

/* Whether @node's name is in the store; of linked files the first that is asked for. */
static gboolean
is_stored(TreeNode *node)
{
  TreeInode *inode = node->inode;

  if (S_ISDIR(inode->mode))
    return TRUE;
  if ((!S_ISREG(inode->mode) && !S_ISLNK(inode->mode)) || inode->mark == MARK_WRITTEN)
    return FALSE;
  inode->mark = MARK_WRITTEN;
  return TRUE;
}

static gboolean
nar_open_entry(Nar *nar, const char *name, GError **error)
{
  return nar_words(nar, error, "entry", "(", "name", name, "node", "(");
}

static gboolean
nar_close_entry(Nar *nar, GError **error)
{
  return nar_words(nar, error, ")", ")");
}

/* Leaves a directory's entry open. */
static gboolean
nar_node(Nar *nar, const TreeNode *node, GError **error)
{
  const TreeInode *inode = node->inode;

  if (!nar_open_entry(nar, node->parent != NULL ? node->name : IMAGE_ROOTFS, error))
    return FALSE;
  if (S_ISDIR(inode->mode))
    return nar_words(nar, error, "type", "directory");
  if (S_ISLNK(inode->mode))
    return nar_words(nar, error, "type", "symlink", "target", inode->target) &&
           nar_close_entry(nar, error);
  return nar_file(nar, inode, error) && nar_close_entry(nar, error);
}

/* Closes the directories from @open up to, but not including, @dir. */
static gboolean
nar_close_up_to(Nar *nar, const TreeNode *open, const TreeNode *dir, GError **error)
{
  for (; open != dir; open = open->parent)
    if (!nar_close_entry(nar, error))
      return FALSE;
  return TRUE;
}

static gboolean
nar_tree(Nar *nar, Tree *tree, GError **error)
{
  const TreeNode *open = NULL; /* the directory whose entry was opened last */

  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL))
    node->inode->mark = 0;
  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL)) {
    if (!is_stored(node))
      continue;
    if (!nar_close_up_to(nar, open, node->parent, error) || !nar_node(nar, node, error))
      return FALSE;
    open = S_ISDIR(node->inode->mode) ? node : node->parent;
  }
  return nar_close_up_to(nar, open, NULL, error);
}

static gboolean
nar_parts(Nar *nar, const StagedImage *image, GError **error)
{
  for (guint i = 0; i < STAGED_FILES; i++) {
    const StagedFile *file = &image->files[i];

    if (!nar_open_entry(nar, file->name, error) ||
        !nar_words(nar, error, "type", "regular", "contents") ||
        !nar_data(nar, file->data, file->size, error) || !nar_close_entry(nar, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
nar_write(const StagedImage *image, NarSink sink, void *data, GError **error)
{
  g_autofree guint8 *piece = g_malloc(NAR_PIECE_SIZE);
  Nar nar = {.stage = image->stage, .sink = sink, .sink_data = data, .piece = piece};

  return nar_words(&nar, error, "nix-archive-1", "(", "type", "directory") &&
         nar_parts(&nar, image, error) && nar_tree(&nar, image->tree, error) &&
         nar_words(&nar, error, ")") && nar_flush(&nar, error);
}
