/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "base.h"
#include "reference-image.h"
#include "trust.h"
#include "util.h"

#include <string.h>

void
base_free(Base *base)
{
  if (base == NULL)
    return;
  reference_free(base->reference);
  image_free(base->image);
  add_hold_free(base->hold);
  g_free(base);
}

/* As reference_read() finds it in a directory: reached without symlinks, regular, not too large. */
static const TreeNode *
find_reference(Tree *tree)
{
  const TreeNode *node = tree_lookup_path(tree, REFERENCE_PATH);

  return node != NULL && S_ISREG(node->inode->mode) && node->inode->size <= REFERENCE_MAX_SIZE
             ? node
             : NULL;
}

gboolean
base_is_reference(Tree *tree, guint32 layer)
{
  const TreeNode *node = find_reference(tree);

  return node != NULL && node->mark == layer;
}

static Reference *
read_reference(Stage *stage, const TreeInode *inode, GError **error)
{
  g_autofree char *text = g_malloc(inode->size + 1);

  return stage_read(stage, inode, text, inode->size, 0, error)
             ? reference_parse(text, inode->size, error)
             : NULL;
}

/* The root comes before the look at the path, so that what is there then stays. Where there can't
 * be one the path is read all the same, and a collection ends that with an error. */
static gboolean
open_trusted(Base *base, GError **error)
{
  g_autoptr(Cache) cache = cache_open(error);

  if (cache == NULL)
    return FALSE;
  base->hold = add_hold_path(base->reference->store_path, error);
  if (base->hold == NULL || !trust_check_reference(cache, base->reference, error))
    return FALSE;
  base->image = image_open(base->reference->store_path, error);
  return base->image != NULL;
}

/* From here on names may come and go: each inode knows itself where its content is. */
static void
name_contents(Tree *tree)
{
  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL))
    if (S_ISREG(node->inode->mode) && node->inode->content_path == NULL)
      node->inode->content_path = tree_node_path(node);
}

gboolean
base_follow(Tree **tree, Stage *stage, Base **ret_base, GError **error)
{
  const TreeNode *node = find_reference(*tree);
  g_autoptr(Base) base = g_new0(Base, 1);
  Tree *found;

  *ret_base = NULL;
  if (node == NULL)
    return TRUE;
  base->reference = read_reference(stage, node->inode, error);
  if (base->reference == NULL || !open_trusted(base, error))
    return FALSE;
  found = image_load_tree(base->image, error);
  if (found == NULL)
    return FALSE;
  name_contents(found);
  stage_set_base(stage, base->image->rootfs_fd);
  tree_free(*tree);
  *tree = found;
  *ret_base = g_steal_pointer(&base);
  return TRUE;
}

gboolean
base_is_all(const Base *base, Source *source)
{
  g_autoptr(ReferenceImage) reference = NULL;
  g_autofree char *config = NULL;
  gsize size;

  if (source->layers->len != 1)
    return FALSE;
  config = image_read_config(base->image, &size, NULL);
  reference = config != NULL ? reference_image_new(base->reference, config, size, "", NULL) : NULL;
  if (reference == NULL || strcmp(reference->id, source->config_digest + strlen("sha256:")) != 0)
    return FALSE;
  g_free(source->config);
  source->config = g_steal_pointer(&config);
  source->config_size = size;
  g_free(source->config_digest);
  source->config_digest = g_strdup(base->image->config_digest);
  return TRUE;
}
