/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "layer.h"
#include "manifest.h"
#include "nar.h"
#include "place.h"
#include "scratch.h"
#include "tar-fixture.h"
#include "util.h"

#include <gio/gio.h>
#include <string.h>

#define TOP "#mtree v2.0\n/set type=file uid=0 gid=0 mode=0644\n"
#define T ".000000000"

/* A layer: its entries, up to one without a path. */
typedef TarFixture Layer[16];

typedef struct {
  const char *name;
  Layer layers[4];      /* up to one without entries */
  const char *expected; /* the manifest below TOP; or, if it starts with '!', part of the error */
} Case;

static const Case cases[] = {
    {"nothing", {{{0}}}, ". type=dir mode=0555 time=0" T "\n"},
    {"root",
     {{{.type = '5', .path = "./", .mode = 0711, .uid = 3, .mtime = 5}}},
     ". type=dir uid=3 mode=0711 time=5" T "\n"},
    {"implied parents",
     {{{.path = "/a//b/./c", .mtime = 5}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a type=dir mode=0755\n"
     "./a/b type=dir mode=0755\n./a/b/c time=5" T "\n"},
    {"implied parents below a setgid directory",
     {{{.type = '5', .path = "a", .mode = 02775, .gid = 13, .mtime = 5}, {.path = "a/b/c"}}},
     ". type=dir mode=0555 time=0" T "\n./a type=dir gid=13 mode=2775 time=5" T "\n/set time=0" T
     "\n./a/b type=dir gid=13 mode=2755\n./a/b/c\n"},
    {"whiteout and a new file of the name",
     {{{.type = '5', .path = "d"}, {.path = "d/a"}, {.path = "f"}},
      {{.path = ".wh.d"}, {.path = ".wh.f"}, {.path = "f", .mtime = 9}}},
     ". type=dir mode=0555 time=0" T "\n./f time=9" T "\n"},
    {"whiteout of what is not there",
     {{{.path = "a/.wh.b"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a type=dir mode=0755\n"},
    {"whiteout of what came before it in its layer",
     {{{.path = "a"}, {.path = ".wh.a"}}},
     ". type=dir mode=0555 time=0" T "\n"},
    {"opaque first",
     {{{.type = '5', .path = "d"}, {.path = "d/old"}},
      {{.path = "d/.wh..wh..opq"}, {.path = "d/new"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./d type=dir mode=0755\n./d/new\n"},
    {"opaque last",
     {{{.type = '5', .path = "d"}, {.path = "d/old"}, {.path = "d/s/old"}},
      {{.path = "d/new"}, {.path = "d/s/new"}, {.path = "d/.wh..wh..opq"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./d type=dir mode=0755\n./d/new\n"
     "./d/s type=dir mode=0755\n./d/s/new\n"},
    {"opaque again and again, and further up",
     {{{.type = '5', .path = "d"},
       {.path = "d/old"},
       {.type = '5', .path = "d/s", .mode = 0700},
       {.path = "d/s/old"},
       {.path = "d/t/old"}},
      {{.path = "d/s/new"},
       {.path = "d/s/.wh..wh..opq"},
       {.path = "d/s/.wh..wh..opq"},
       {.path = "d/t/.wh..wh..opq"},
       {.path = "d/.wh..wh..opq"},
       {.path = "d/s/newer"},
       {.path = "d/s/.wh.new"},
       {.path = "d/s/.wh..wh..opq"},
       {.path = "d/.wh..wh..opq"}},
      {{.path = "d/s/.wh..wh..opq"}, {.path = "d/s/newest"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./d type=dir mode=0755\n"
     "./d/s type=dir mode=0755\n./d/s/newest\n"},
    {"opaque root keeps its own layer's",
     {{{.path = "old"}}, {{.path = "new"}, {.path = ".wh..wh..opq"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./new\n"},
    {"what AUFS leaves at the root",
     {{{.path = ".wh..wh.plnk/1.2"}}},
     ". type=dir mode=0555 time=0" T "\n"},
    {"character device 0:0",
     {{{.path = "a"}}, {{.type = '3', .path = "a"}}},
     ". type=dir mode=0555 time=0" T "\n"},
    {"devices",
     {{{.type = '3', .path = "a", .major = 1, .minor = 3},
       {.type = '4', .path = "b", .major = 4095, .minor = 1048575, .mode = 0600},
       {.type = '6', .path = "c"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a type=char device=native,1,3\n"
     "./b type=block mode=0600 device=native,4095,1048575\n./c type=fifo\n"},
    {"a file over a directory, a directory over a file",
     {{{.path = "d/f"}, {.path = "f"}}, {{.path = "d"}, {.type = '5', .path = "f"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./d\n./f type=dir mode=0755\n"},
    {"a directory over a directory adds xattrs",
     {{{.type = '5', .path = "d", .pax = {"SCHILY.xattr.user.a=1", "SCHILY.xattr.user.b=1"}},
       {.path = "d/f"}},
      {{.type = '5',
        .path = "d/",
        .mode = 0700,
        .uid = 7,
        .mtime = 3,
        .pax = {"SCHILY.xattr.user.b=2"}}}},
     ". type=dir mode=0555 time=0" T "\n./d type=dir uid=7 mode=0700 time=3" T
     " xattr.user.a=MQ== xattr.user.b=Mg==\n./d/f time=0" T "\n"},
    {"through symlinks, beneath the root",
     {{{.type = '5', .path = "real"},
       {.type = '2', .path = "rel", .link = "real"},
       {.type = '2', .path = "abs", .link = "/real/"},
       {.type = '2', .path = "up", .link = "../../rel/."}},
      {{.path = "rel/a"}, {.path = "abs/b"}, {.path = "up/c/d"}, {.path = "up/.wh.b"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./abs type=link mode=0777\n"
     "./real type=dir mode=0755\n./real/a\n./real/c type=dir mode=0755\n./real/c/d\n"
     "./rel type=link mode=0777\n./up type=link mode=0777\n"},
    {"hard links: the last header speaks for the group",
     {{{.path = "z", .mode = 04755, .uid = 1, .pax = {"SCHILY.xattr.security.capability=x"}},
       {.type = '1', .path = "b", .link = "./z", .mode = 0600, .uid = 2, .mtime = 8}},
      {{.type = '1', .path = "a", .link = "/b", .mode = 0640, .uid = 2, .mtime = 9}}},
     ". type=dir mode=0555 time=0" T "\n/set time=9" T
     "\n./a uid=2 mode=0640\n./b hardlink=./a\n./z hardlink=./a\n"},
    {"a hard link of the same owner keeps capabilities",
     {{{.path = "a", .pax = {"SCHILY.xattr.security.capability=x"}},
       {.type = '1', .path = "b", .link = "a", .mode = 0755}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a mode=0755 xattr.security.capability=eA==\n"
     "./b hardlink=./a\n"},
    {"a name of a link group goes",
     {{{.path = "a"}, {.type = '1', .path = "b", .link = "a"}}, {{.path = ".wh.a"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./b\n"},
    {"times",
     {{{.path = "a", .pax = {"mtime=-1.5"}},
       {.path = "b", .pax = {"mtime=9223372037"}},
       {.path = "c", .pax = {"mtime=9223372035.1234567899"}},
       {.type = '2', .path = "d", .link = "x", .pax = {"mtime=-1.25"}}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a\n./b\n./c time=9223372035.123456789\n"
     "./d type=link mode=0777 time=-2.750000000\n"},
    {"xattrs that Linux does not have are left out",
     {{{.path = "a",
        .pax = {"SCHILY.xattr.com.apple.provenance=1", "SCHILY.xattr.security.selinux=1",
                "SCHILY.xattr.trusted.x=y", "SCHILY.xattr.user.e="}}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a xattr.trusted.x=eQ==\n"},
    {"a long name",
     {{{.path = "short", .pax = {"path=d/\xff\n"}}}},
     "/set time=0" T "\n. type=dir mode=0555\n./d type=dir mode=0755\n./d/\\377\\012\n"},

    {"a whiteout where nothing can be",
     {{{.type = '2', .path = "a", .link = "b/c", .mode = 0777}},
      {{.path = "a/.wh.d"}, {.path = "a/.wh..wh..opq"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a type=link mode=0777\n"},
    {"an opaque file",
     {{{.path = "a"}, {.path = "a/.wh..wh..opq"}}},
     "/set time=0" T "\n. type=dir mode=0555\n./a\n"},
    {"a whiteout on a dangling way",
     {{{.type = '2', .path = "a", .link = "b/c"}, {.path = "a/d/.wh.e"}}},
     "!a dangling symlink"},

    {"an xattr of overlayfs",
     {{{.path = "a", .pax = {"SCHILY.xattr.trusted.overlay.opaque=y"}}}},
     "!an xattr of overlayfs (trusted.overlay.*), which no image may have"},
    {"'..'", {{{.path = "../a"}}}, "!../a: `..' in a name"},
    {"'..' inside", {{{.path = "a/../b"}}}, "!`..' in a name"},
    {"a root that is a file", {{{.path = "./"}}}, "!the root must be a directory"},
    {"whiteout of '.'", {{{.path = "a/.wh.."}}}, "!a whiteout of its own directory"},
    {"whiteout of '..'", {{{.path = "a/.wh..."}}}, "!a whiteout of its own directory"},
    {"whiteout of nothing", {{{.path = "a/.wh."}}}, "!a whiteout of its own directory"},
    {"below a whiteout", {{{.path = "a/.wh.b/c"}}}, "!whose name is a whiteout's"},
    {"hard link out of the image",
     {{{.type = '1', .path = "a", .link = "../../etc/passwd"}}},
     "!a hard link to `../../etc/passwd': `..'"},
    {"hard link to nothing", {{{.type = '1', .path = "a", .link = "b"}}}, "!which is not there"},
    {"hard link to itself",
     {{{.path = "a"}, {.type = '1', .path = "a", .link = "a"}}},
     "!which is not there"},
    {"hard link to a directory",
     {{{.type = '5', .path = "d"}, {.type = '1', .path = "a", .link = "d"}}},
     "!which is a directory"},
    {"through a file", {{{.path = "a"}, {.path = "a/b"}}}, "!`a' on its way is not a directory"},
    {"through a dangling symlink",
     {{{.type = '2', .path = "a", .link = "b/c"}, {.path = "a/d"}}},
     "!a dangling symlink"},
    {"through a loop",
     {{{.type = '2', .path = "a", .link = "a"}, {.path = "a/b"}}},
     "!too many symlinks"},
    {"owner", {{{.path = "a", .pax = {"uid=4294967295"}}}}, "!an owner that Linux cannot have"},
    {"negative owner", {{{.path = "a", .pax = {"gid=-1"}}}}, "!an owner that Linux cannot have"},
    {"device number", {{{.type = '3', .path = "a", .major = 4096}}}, "!a device number"},
    {"empty symlink", {{{.type = '2', .path = "a"}}}, "!an empty or overlong target"},
    {"user.* on a symlink",
     {{{.type = '2', .path = "a", .link = "b", .pax = {"SCHILY.xattr.user.a=1"}}}},
     "!neither a file nor a directory"},
    {"unknown type", {{{.type = '7', .path = "a"}}}, "!unknown type 0x37"},
};

static GString *
apply_case(const Case *c, gsize piece, GError **error)
{
  g_autoptr(Stage) stage = stage_new(error);
  g_autoptr(Tree) tree = layer_new_tree();
  BlobBudget budget = {0};
  LayerTarget target = {.tree = tree, .stage = stage, .budget = &budget};

  g_assert_nonnull(stage);
  for (gsize i = 0; i < G_N_ELEMENTS(c->layers) && c->layers[i][0].path != NULL; i++) {
    g_autoptr(GByteArray) tar = NULL;
    gsize count = 0;

    while (count < G_N_ELEMENTS(c->layers[i]) && c->layers[i][count].path != NULL)
      count++;
    tar = tar_fixture_new(c->layers[i], count);
    TarFixtureInput input = {tar->data, tar->len, 0, piece};
    if (!layer_apply_tar(&target, tar_fixture_fill, &input, error))
      return NULL;
  }
  return stage_check_paths(tree, error) ? manifest_write(tree, error) : NULL;
}

static void
test_case(gconstpointer data)
{
  static const gsize pieces[] = {1, 511, 512, 1000000};
  const Case *c = data;

  for (gsize i = 0; i < G_N_ELEMENTS(pieces); i++) {
    g_autoptr(GError) error = NULL;
    GString *manifest = apply_case(c, pieces[i], &error);

    if (*c->expected == '!') {
      g_assert_null(manifest);
      g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
      if (strstr(error->message, c->expected + 1) == NULL)
        g_error("%s: got the error: %s", c->name, error->message);
      continue;
    }
    g_assert_no_error(error);
    g_autofree char *expected = g_strconcat(TOP, c->expected, NULL);
    g_assert_cmpstr(manifest->str, ==, expected);
    g_string_free(manifest, TRUE);
  }
}

static gboolean
append(void *data, const void *piece, gsize size, GError **error)
{
  g_byte_array_append(data, piece, (guint)size);
  return TRUE;
}

/* @image's archive is what Nix makes of the directory @path. */
static void
check_archive(const StagedImage *image, const char *path)
{
  const char *argv[] = {"nix-store", "--dump", path, NULL};
  g_autoptr(GSubprocess) nix = NULL;
  g_autoptr(GBytes) theirs = NULL;
  g_autoptr(GByteArray) ours = g_byte_array_new();
  g_autoptr(GError) error = NULL;

  g_assert_true(nar_write(image, append, ours, &error));
  /* Twice the same: what a first run has marked does not matter. */
  g_byte_array_set_size(ours, 0);
  g_assert_true(nar_write(image, append, ours, &error));
  nix = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
  if (nix == NULL) {
    g_test_message("no nix-store: the archive is not compared");
    return;
  }
  g_assert_true(g_subprocess_communicate(nix, NULL, NULL, &theirs, NULL, &error));
  g_assert_true(g_subprocess_get_successful(nix));
  g_assert_cmpmem(ours->data, ours->len, g_bytes_get_data(theirs, NULL), g_bytes_get_size(theirs));
}

/* The staged files: content, executable bit, one file for a link group, under its first name. */
static void
test_stage(void)
{
  static const TarFixture entries[] = {
      {.path = "z", .data = "hello", .mode = 0600},
      {.type = '1', .path = "d/a", .link = "z", .mode = 0711},
      {.type = '2', .path = "l", .link = "/nowhere"},
      {.type = '1', .path = "l2", .link = "l"},
      {.type = '6', .path = "fifo"},
      {.type = '5', .path = "d/e/f"},
      {.path = "d.", .data = "sorts before what is in d"},
      {.path = "12345678", .data = "12345678"},
      {.path = "empty"},
      {.path = "sparse",
       .data = "AABB",
       .pax = {"GNU.sparse.numblocks=3", "GNU.sparse.map=1,2,6,2,9,0", "GNU.sparse.size=9"}},
  };
  g_autoptr(GError) error = NULL;
  g_autoptr(Stage) stage = stage_new(&error);
  g_autoptr(Tree) tree = layer_new_tree();
  g_autoptr(GByteArray) tar = tar_fixture_new(entries, G_N_ELEMENTS(entries));
  g_autoptr(Scratch) scratch = scratch_new(&error);
  BlobBudget budget = {0};
  LayerTarget target = {.tree = tree, .stage = stage, .budget = &budget};
  StagedImage image = {"name", tree, stage, {{"a", "1", 1}, {"b", "", 0}, {"c", "12345678", 8}}};
  TarFixtureInput input = {tar->data, tar->len, 0, 100};
  struct stat st;

  g_assert_no_error(error);
  g_assert_true(layer_apply_tar(&target, tar_fixture_fill, &input, &error));
  g_assert_true(place_image(&image, scratch->fd, &error));
  g_assert_cmpuint(budget.decompressed, ==, 5); /* holes alone: the bytes are the streams' */

  g_autofree char *path = g_build_filename(scratch->path, "name", NULL);
  g_autofree char *first = g_build_filename(path, "rootfs/d/a", NULL);
  g_autofree char *second = g_build_filename(path, "rootfs/z", NULL);
  g_autofree char *link = g_build_filename(path, "rootfs/l", NULL);
  g_autofree char *sparse = g_build_filename(path, "rootfs/sparse", NULL);
  g_autofree char *content = NULL, *target_text = NULL, *holes = NULL;
  gsize size;

  g_assert_true(g_file_get_contents(first, &content, NULL, NULL));
  g_assert_cmpstr(content, ==, "hello");
  g_assert_cmpint(lstat(first, &st), ==, 0);
  g_assert_cmpuint(st.st_mode & 0777, ==, 0555);
  g_assert_cmpint(lstat(second, &st), ==, -1);
  target_text = g_file_read_link(link, NULL);
  g_assert_cmpstr(target_text, ==, "/nowhere");
  g_assert_true(g_file_get_contents(sparse, &holes, &size, NULL));
  g_assert_cmpmem(holes, size, "\0AA\0\0\0BB\0", 9);
  check_archive(&image, path);
}

static gboolean
fill_again(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  const GByteArray *tar = data;

  *ret_piece = tar->data;
  *ret_size = tar->len;
  return TRUE;
}

/* A layer without an end, of one symlink, over others that have had their part of the bytes. */
static void
test_targets(void)
{
  g_autofree char *target_text = g_strnfill(4095, 'x');
  g_autofree char *record = g_strconcat("linkpath=", target_text, NULL);
  TarFixture symlink = {.type = '2', .path = "l", .pax = {record}};
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = layer_new_tree();
  g_autoptr(GByteArray) tar = g_byte_array_new();
  BlobBudget budget = {0};
  LayerTarget target = {
      .tree = tree, .budget = &budget, .target_bytes = LAYER_TARGET_BYTES_MAX - 10 * 4095};

  tar_fixture_add(tar, &symlink);
  g_assert_false(layer_apply_tar(&target, fill_again, tar, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, "targets of symlinks"));
  g_assert_cmpuint(target.entries, ==, 11);
}

/* Limits: bytes, and a flood of devices. */
static void
test_limits(void)
{
  static const TarFixture file = {
      .path = "f",
      .data = "x",
      .pax = {"GNU.sparse.numblocks=1", "GNU.sparse.map=0,1", "GNU.sparse.size=5000"}};
  g_autoptr(GError) error = NULL;
  g_autoptr(Stage) stage = stage_new(&error);
  g_autoptr(Tree) tree = layer_new_tree();
  g_autoptr(GByteArray) tar = tar_fixture_new(&file, 1);
  g_autoptr(GByteArray) flood = g_byte_array_new();
  BlobBudget budget = {.max_size = 4096};
  LayerTarget target = {.tree = tree, .stage = stage, .budget = &budget};
  TarFixtureInput input = {tar->data, tar->len, 0, 4096};

  g_assert_false(layer_apply_tar(&target, tar_fixture_fill, &input, &error));
  g_assert_nonnull(strstr(error->message, "--max-size"));
  g_clear_error(&error);

  for (int i = 0; i <= LAYER_DEVICES_MAX; i++) {
    g_autofree char *name = g_strdup_printf("d%d", i);
    TarFixture device = {.type = '3', .path = name, .major = 1, .minor = 3};
    tar_fixture_add(flood, &device);
  }
  budget.max_size = 0;
  input = (TarFixtureInput){flood->data, flood->len, 0, 65536};
  g_assert_false(layer_apply_tar(&target, tar_fixture_fill, &input, &error));
  g_assert_nonnull(strstr(error->message, "devices and FIFOs"));
}

/* Markers that change nothing: hours, if each of them walked through all that there is. */
static void
test_markers(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Stage) stage = stage_new(&error);
  g_autoptr(Tree) tree = layer_new_tree();
  g_autoptr(GByteArray) tar = g_byte_array_new();
  BlobBudget budget = {0};
  LayerTarget target = {.tree = tree, .stage = stage, .budget = &budget};

  for (guint i = 0; i < 100000; i++) {
    g_autofree char *name = g_strdup_printf("a/b/%u", i);
    TarFixture file = {.path = name};
    TarFixture marker = {.path = i % 2 ? "a/b/.wh..wh..opq" : "a/.wh..wh..opq"};
    tar_fixture_add(tar, &file);
    tar_fixture_add(tar, &marker);
  }
  tar_fixture_end(tar);
  TarFixtureInput input = {tar->data, tar->len, 0, 65536};
  g_assert_true(layer_apply_tar(&target, tar_fixture_fill, &input, &error));
  g_assert_cmpuint(tree_count(tree), ==, 100003);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *path = g_strconcat("/layer/", cases[i].name, NULL);
    g_test_add_data_func(path, &cases[i], test_case);
  }
  g_test_add_func("/layer/stage", test_stage);
  g_test_add_func("/layer/limits", test_limits);
  g_test_add_func("/layer/targets", test_targets);
  g_test_add_func("/layer/markers", test_markers);
  return g_test_run();
}
