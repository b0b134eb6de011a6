/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The input is a script: a line an entry, a line "--" between layers; in a line, separated by tabs,
 * type, path, link, content, and pax records. So mutations stay entries, and get as far as the
 * tree.
 */
#include "config.h"

#include "fuzz.h"
#include "layer.h"
#include "manifest.h"
#include "tar-fixture.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("5\td\n0\td/f\t\thello\n2\tl\td\n1\th\td/f\n3\tdev\n"
              "--\n"
              "0\tl/x\t\tworld\tSCHILY.xattr.user.a=1\n0\td/.wh.f\n0\td/.wh..wh..opq\n"
              "0\td/new/deep\n5\tl\n1\tl/y\t/h\n"
              "--\n"
              "0\t.wh.d\n5\t./\t\t\tmtime=-3.5\tuid=7\n6\tp\n0\t.wh..wh.plnk/1\n"),
    FUZZ_SEED("2\ta\tb\n2\tb\ta\n0\ta/c\n--\n2\tu\t../../d/..\n5\td\n0\tu/d/e\n"
              "--\n0\tu/d\t\tnot a directory any more\n"),
    FUZZ_SEED("0\ts\t\tAABB\tGNU.sparse.numblocks=2\t"
              "GNU.sparse.map=1,2,6,2\tGNU.sparse.size=9\n1\t../x\t../../etc/passwd\n"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

static void
add_line(GByteArray *tar, char *line)
{
  g_auto(GStrv) fields = g_strsplit(line, "\t", 4 + 7);
  guint count = g_strv_length(fields);
  TarFixture entry = {.type = '0', .path = "f"};

  if (count > 0 && *fields[0] != '\0')
    entry.type = *fields[0];
  if (count > 1)
    entry.path = fields[1];
  if (count > 2)
    entry.link = fields[2];
  if (count > 3)
    entry.data = fields[3];
  entry.major = 1;
  for (guint i = 4; i < count; i++)
    entry.pax[i - 4] = fields[i];
  tar_fixture_add(tar, &entry);
}

/* One for all runs: it is the tree that matters here, and there is always room. */
static Stage *stage;

static void
remove_stage(void)
{
  g_clear_pointer(&stage, stage_free);
}

static gboolean
apply(LayerTarget *target, char **line, GError **error)
{
  g_autoptr(GByteArray) tar = g_byte_array_new();

  for (; *line != NULL && strcmp(*line, "--") != 0; line++)
    add_line(tar, *line);
  tar_fixture_end(tar);
  TarFixtureInput input = {.data = tar->data, .size = tar->len, .piece = 1000};
  return layer_apply_tar(target, tar_fixture_fill, &input, error);
}

/* What comes out is a tree that a manifest can describe, in names that stay beneath the root. */
static void
check_tree(Tree *tree)
{
  g_autoptr(GError) error = NULL;
  GString *text = manifest_write(tree, NULL);
  g_autoptr(Tree) again = manifest_parse(text->str, text->len, &error);

  g_assert_no_error(error);
  g_assert(tree_count(again) == tree_count(tree));
  g_string_free(text, TRUE);
  for (TreeNode *node = tree_root(tree); node != NULL; node = tree_next(node, NULL)) {
    g_assert(node->parent == NULL || tree_name_is_valid(node->name));
    g_assert(!g_str_has_prefix(node->name, ".wh."));
  }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autofree char *text = g_strndup((const char *)data, size);
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = layer_new_tree();
  BlobBudget budget = {.max_size = 1024 * 1024};
  LayerTarget target = {.tree = tree, .budget = &budget};
  gboolean ok = TRUE;

  if (stage == NULL) {
    stage = stage_new(&error);
    g_assert_no_error(error);
    atexit(remove_stage);
  }
  target.stage = stage;
  for (char **line = lines; ok && *line != NULL; line++) {
    ok = apply(&target, line, &error);
    while (line[1] != NULL && strcmp(*line, "--") != 0)
      line++;
  }
  g_assert(ok == (error == NULL));
  if (ok)
    check_tree(tree);
  return 0;
}
