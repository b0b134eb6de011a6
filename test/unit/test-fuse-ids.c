/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "ids.h"

static GArray *
parse(const char *text)
{
  g_autoptr(GError) error = NULL;
  GArray *ranges = NULL;

  g_assert_true(idmap_parse(text, &ranges, &error));
  g_assert_no_error(error);
  ids_sort(ranges);
  return ranges;
}

static void
test_ranges(void)
{
  g_autoptr(GArray) ranges = parse("1000:5:1:0:100000:500:2000:200000:63536");
  const guint32 pairs[][2] = {
      {0, 100000},
      {499, 100499},
      {500, IDS_UNMAPPED},
      {999, IDS_UNMAPPED},
      {1000, 5},
      {1001, IDS_UNMAPPED},
      {2000, 200000},
      {65535, 263535},
      {65536, IDS_UNMAPPED},
      {G_MAXUINT32, IDS_UNMAPPED},
  };

  for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++)
    g_assert_cmpuint(ids_map(ranges, pairs[i][0]), ==, pairs[i][1]);
  g_assert_cmpuint(ids_map(NULL, 7), ==, 7);
}

static void
test_many_ranges(void)
{
  g_autoptr(GString) text = g_string_new(NULL);

  /* Written in reverse, every second id. */
  for (int i = 299; i >= 0; i--)
    g_string_append_printf(text, "%d:%d:1:", 2 * i, 70000 + i);
  g_string_truncate(text, text->len - 1);
  g_autoptr(GArray) ranges = parse(text->str);
  for (guint32 id = 0; id < 700; id++)
    g_assert_cmpuint(ids_map(ranges, id), ==, id % 2 || id >= 600 ? IDS_UNMAPPED : 70000 + id / 2);
}

static void
test_acl(void)
{
  Ids ids = {parse("0:100000:1000:1000:7:1"), parse("0:200000:65536")};
  /* user::rw-, user:1000:r--, user:5000:r--, group::r--, group:50:rw-, mask::rw-, other::--- */
  const guint8 before[] = {2,    0,    0,    0,    1,    0, 6, 0, 0xff, 0xff, 0xff, 0xff,
                           2,    0,    4,    0,    0xe8, 3, 0, 0, 2,    0,    4,    0,
                           0x88, 0x13, 0,    0,    4,    0, 4, 0, 0xff, 0xff, 0xff, 0xff,
                           8,    0,    6,    0,    50,   0, 0, 0, 0x10, 0,    6,    0,
                           0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
  guint8 value[sizeof before], after[sizeof before];
  const gsize shorter = sizeof before - 8;

  /* Of whom nobody is there is no entry: the kernel would refuse them all. */
  memcpy(value, before, sizeof before);
  memcpy(after, before, 20);
  memcpy(after + 16, (guint8[]){7, 0, 0, 0}, 4);
  memcpy(after + 20, before + 28, shorter - 20);
  memcpy(after + 32, (guint8[]){0x72, 0x0d, 3, 0}, 4);
  g_assert_true(ids_concern_xattr(&ids, "system.posix_acl_access"));
  g_assert_cmpint(ids_map_xattr(&ids, "system.posix_acl_access", value, sizeof value), ==, shorter);
  g_assert_cmpmem(value, shorter, after, shorter);

  /* Anything else is left alone: cut off, another version. */
  memcpy(value, before, sizeof before);
  g_assert_cmpint(ids_map_xattr(&ids, "system.posix_acl_default", value, 21), ==, 21);
  g_assert_cmpmem(value, 21, before, 21);
  value[0] = 3;
  memcpy(after, value, sizeof value);
  ids_map_xattr(&ids, "system.posix_acl_access", value, sizeof value);
  g_assert_cmpmem(value, sizeof value, after, sizeof after);
  g_array_unref(ids.uids);
  g_array_unref(ids.gids);
}

/* Nobody but owner, group and others is left: the mask stays. */
static void
test_acl_of_nobody(void)
{
  Ids ids = {.own_uids = ids_parse_own("         0     100000       1000\n")};
  /* user::rw-, user:1000:r--, user:5000:r--, group::r--, mask::r--, other::--- */
  guint8 value[] = {2, 0,    0,    0,    1,    0,    6,    0,    0xff, 0xff, 0xff, 0xff, 2,
                    0, 4,    0,    0xe8, 3,    0,    0,    2,    0,    4,    0,    0x88, 0x13,
                    0, 0,    4,    0,    4,    0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,    4,
                    0, 0xff, 0xff, 0xff, 0xff, 0x20, 0,    0,    0,    0xff, 0xff, 0xff, 0xff};
  const guint8 after[] = {2,    0,    0,    0,    1,    0,    6,    0,    0xff, 0xff, 0xff, 0xff,
                          4,    0,    4,    0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,    4,    0,
                          0xff, 0xff, 0xff, 0xff, 0x20, 0,    0,    0,    0xff, 0xff, 0xff, 0xff};

  g_assert_true(ids_concern_xattr(&ids, "system.posix_acl_default"));
  g_assert_false(ids_concern_xattr(&ids, "security.capability"));
  gssize size = ids_map_xattr(&ids, "system.posix_acl_default", value, sizeof value);
  g_assert_cmpmem(value, size, after, sizeof after);
  g_array_unref(ids.own_uids);
}

static void
test_own(void)
{
  g_autoptr(GArray) own = ids_parse_own("  1 100000 65536\n  0 1000 1\n70000 9 1\n");

  g_assert_cmpuint(ids_map(own, 0), ==, 0);
  g_assert_cmpuint(ids_map(own, 65536), ==, 65536);
  g_assert_cmpuint(ids_map(own, 65537), ==, IDS_UNMAPPED);
  g_assert_cmpuint(ids_map(own, 70000), ==, 70000);
  g_assert_cmpuint(ids_map(own, IDS_UNMAPPED), ==, IDS_UNMAPPED);
  g_assert_null(ids_parse_own("         0          0 4294967295\n"));
  g_assert_null(ids_parse_own(""));
}

static void
test_capability(void)
{
  Ids ids = {parse("0:100000:1:500:0:1"), NULL}, other = {parse("7:100000:1"), NULL};
  Ids same = {parse("0:0:10"), NULL}, none = {NULL, NULL};
  const char *name = "security.capability";
  const guint8 v2[20] = {1, 0, 0, 2, 0, 0x20}, v3[24] = {1, 0, 0, 3, 0, 0x20, [20] = 0xf4, 1};
  guint8 value[24], want[24];

  g_assert_true(ids_concern_xattr(&ids, name));
  g_assert_false(ids_concern_xattr(&ids, "user.x"));
  g_assert_false(ids_concern_xattr(&none, name));

  /* Of the image's root: becomes that of the root it is mapped to. */
  memcpy(value, v2, 20);
  g_assert_cmpint(ids_map_xattr(&ids, name, value, 20), ==, 24);
  memcpy(want, v2, 20);
  want[3] = 3;
  memcpy(want + 20, (guint8[]){0xa0, 0x86, 1, 0}, 4);
  g_assert_cmpmem(value, 24, want, 24);
  /* Where root stays root nothing changes. */
  memcpy(value, v2, 20);
  g_assert_cmpint(ids_map_xattr(&same, name, value, 20), ==, 20);
  g_assert_cmpmem(value, 20, v2, 20);
  /* Of another root. */
  memcpy(value, v3, 24);
  g_assert_cmpint(ids_map_xattr(&ids, name, value, 24), ==, 24);
  g_assert_cmpmem(value, 20, v3, 20);
  g_assert_cmpuint(value[20], ==, 0);
  g_assert_cmpuint(value[21], ==, 0);
  /* Nobody's. */
  memcpy(value, v2, 20);
  g_assert_cmpint(ids_map_xattr(&other, name, value, 20), ==, -ENODATA);
  /* Odd sizes and versions. */
  memcpy(value, v2, 20);
  g_assert_cmpint(ids_map_xattr(&ids, name, value, 19), ==, 19);
  value[3] = 1;
  g_assert_cmpint(ids_map_xattr(&ids, name, value, 20), ==, 20);
  g_array_unref(ids.uids);
  g_array_unref(other.uids);
  g_array_unref(same.uids);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/fuse-ids/ranges", test_ranges);
  g_test_add_func("/fuse-ids/many-ranges", test_many_ranges);
  g_test_add_func("/fuse-ids/acl", test_acl);
  g_test_add_func("/fuse-ids/acl-of-nobody", test_acl_of_nobody);
  g_test_add_func("/fuse-ids/own", test_own);
  g_test_add_func("/fuse-ids/capability", test_capability);
  return g_test_run();
}
