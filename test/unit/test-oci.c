/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "argument.h"
#include "oci.h"
#include "pax.h"
#include "reference-image.h"
#include "ustar.h"
#include "util.h"

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <string.h>

#define DIFF_ID "sha256:556f6a61bc6b860d8fc46452663bdef0a5f646b08d2dd56d9c14eef4646ee43d"

static void
assert_collapsed(const char *config, const char *expected)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *text = oci_config_collapse(config, strlen(config), DIFF_ID, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(text, ==, expected);
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF_ID "\"]}"

static void
test_collapse(void)
{
  assert_collapsed("{\"a\":1,\"rootfs\":{\"diff_ids\":[\"x\",\"y\"]},\"b\":{\"c\":[null]}}",
                   "{\"a\":1," ROOTFS ",\"b\":{\"c\":[null]}}");
  /* Two layers become one, which the last of the two entries stands for. */
  assert_collapsed("{" ROOTFS ",\"history\":[{\"created_by\":\"1\"},{\"created_by\":\"2\"},"
                   "{\"created_by\":\"3\",\"empty_layer\":true}]}",
                   "{" ROOTFS ",\"history\":[{\"created_by\":\"1\",\"empty_layer\":true},"
                   "{\"created_by\":\"2\"},{\"created_by\":\"3\",\"empty_layer\":true}]}");
  /* A history in which nothing makes a layer gets an entry that does. */
  assert_collapsed("{" ROOTFS ",\"history\":[{\"empty_layer\":true}]}",
                   "{" ROOTFS
                   ",\"history\":[{\"empty_layer\":true},{\"created_by\":\"nixstore\"}]}");
  assert_collapsed("{" ROOTFS ",\"history\":[]}", "{" ROOTFS ",\"history\":[]}");
  assert_collapsed("{}", "{" ROOTFS "}");
  /* What Go takes for a character: half a surrogate pair, the wrong half first, and no UTF-8; but
   * not what a backslash stands before, nor a whole pair. */
  assert_collapsed("{\"a\":\"\\ud83dx\\ud83d\\ud83d\\ude00\\ude00\xff\\\\ud800\\u0000\"}",
                   "{\"a\":\"\xef\xbf\xbdx\xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd"
                   "\\\\ud800\\u0000\"," ROOTFS "}");
}

static void
test_collapse_refused(void)
{
  static const char *const bad[] = {
      "", "[]", "{", "\"a\"", "{\"\\u0000\":1}", "{\"a\":\"\\udz00\"}"};
  for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_null(oci_config_collapse(bad[i], strlen(bad[i]), DIFF_ID, &error));
    g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  }
}

static void
assert_name(const char *argument, const char *expected)
{
  g_autoptr(GError) error = NULL;
  g_autofree char *name = argument_image_name(argument, &error);
  g_assert_cmpstr(name, ==, expected);
  g_assert_true((name == NULL) == (error != NULL));
}

static void
test_image_name(void)
{
  assert_name("debian", "localhost/debian:latest");
  assert_name("debian:12", "localhost/debian:12");
  assert_name("team/web:A_b-1.0", "localhost/team/web:A_b-1.0");
  assert_name("localhost/web", "localhost/web:latest");
  assert_name("localhost:5000/web", "localhost:5000/web:latest");
  assert_name("example.org/a/b__c-d--e.f:1", "example.org/a/b__c-d--e.f:1");
  assert_name("[::1]:5000/web:1", "[::1]:5000/web:1");
  static const char *const bad[] = {
      "",   ":1", "Debian", "a:", "a:.b",  "a/",  "/a",   "a//b",  "a b",   "a@b",
      "-a", "a-", "a..b",   "a.", "a:b:c", "--x", "a\nb", "a___b", "a:b c", "exa mple.org/a"};
  for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
    assert_name(bad[i], NULL);
}

static void
assert_default_name(const char *base, const char *expected)
{
  g_autofree char *path = g_strconcat("/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-", base, NULL);
  g_autofree char *name = argument_default_name(path);
  g_assert_cmpstr(name, ==, expected);
  assert_name(name, expected);
}

static void
test_default_name(void)
{
  assert_default_name("hello", "localhost/hello:latest");
  assert_default_name("Hello-2.12", "localhost/hello-2.12:latest");
  assert_default_name("g++", "localhost/g:latest");
  assert_default_name("a+b?=c", "localhost/a-b-c:latest");
  assert_default_name("-a_b-", "localhost/a_b:latest");
  assert_default_name("???", "localhost/image:latest");
}

static void
test_ustar(void)
{
  guint8 block[USTAR_BLOCK];
  ustar_fill_file_header(block, "a/b", 5);
  g_assert_cmpstr((char *)block, ==, "a/b");
  g_assert_cmpmem(block + 124, 12, "00000000005", 12);
  ustar_fill_file_header(block, "a", G_GUINT64_CONSTANT(077777777777));
  g_assert_cmpmem(block + 124, 12, "77777777777", 12);
  /* One more needs base 256. */
  ustar_fill_file_header(block, "a", G_GUINT64_CONSTANT(0100000000000));
  g_assert_cmpmem(block + 124, 12, "\x80\0\0\0\0\0\0\x02\0\0\0\0", 12);
  g_assert_cmpuint(ustar_padding(0), ==, 0);
  g_assert_cmpuint(ustar_padding(1), ==, 511);
  g_assert_cmpuint(ustar_padding(512), ==, 0);
}

/* The records before the header of an entry, without lengths, newlines as '|'; "" without any. */
static char *
records_of(const TreeInode *inode, const char *path, const char *hardlink)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GByteArray) out = g_byte_array_new();
  GString *text = g_string_new(NULL);
  g_assert_true(pax_append_header(out, inode, path, hardlink, &error));
  g_assert_no_error(error);
  g_assert_cmpuint(out->len % USTAR_BLOCK, ==, 0);
  if (out->data[156] != 'x') {
    g_assert_cmpuint(out->len, ==, USTAR_BLOCK);
    return g_string_free(text, FALSE);
  }
  guint64 left = g_ascii_strtoull((char *)out->data + 124, NULL, 8);
  g_assert_cmpuint(out->len, ==, 2 * USTAR_BLOCK + left + ustar_padding(left));
  const char *record = (char *)out->data + USTAR_BLOCK;
  for (guint64 size; left > 0; record += size, left -= size) {
    char *end;
    size = g_ascii_strtoull(record, &end, 10);
    g_assert_cmpuint(size, <=, left);
    g_assert_true(record[size - 1] == '\n' && *end == ' ');
    g_string_append_len(text, end + 1, record + size - end - 2);
    g_string_append_c(text, '|');
  }
  return g_string_free(text, FALSE);
}

static void
assert_mtime(gint64 mtime, guint32 nsec, const char *expected)
{
  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);
  inode->mtime = mtime;
  inode->mtime_nsec = nsec;
  g_autofree char *records = records_of(inode, "a", NULL);
  g_assert_cmpstr(records, ==, expected);
}

static void
test_pax(void)
{
  assert_mtime(0, 0, "");
  assert_mtime(G_GINT64_CONSTANT(077777777777), 0, "");
  assert_mtime(G_GINT64_CONSTANT(0100000000000), 0, "mtime=8589934592|");
  assert_mtime(1, 1, "mtime=1.000000001|");
  assert_mtime(1, 500000000, "mtime=1.5|");
  assert_mtime(-1, 0, "mtime=-1|");
  assert_mtime(-1, 500000000, "mtime=-0.5|");
  assert_mtime(-2, 1, "mtime=-1.999999999|");
  assert_mtime(G_MININT64, 0, "mtime=-9223372036854775808|");
  assert_mtime(G_MININT64, 1, "mtime=-9223372036854775807.999999999|");

  g_autoptr(TreeInode) inode = tree_inode_new(S_IFREG | 0644);
  g_autofree char *long_name = g_strnfill(101, 'n');
  g_autofree char *fitting_name = g_strnfill(100, 'n');
  inode->uid = 07777777;
  inode->gid = 010000000;
  inode->size = 0100000000000;
  tree_inode_set_xattr(inode, "user.\303\251", "a\0\n", 3);
  g_autofree char *first = records_of(inode, fitting_name, NULL);
  g_assert_cmpstr(first, ==, "size=8589934592|gid=2097152|SCHILY.xattr.user.\303\251=a");
  g_autofree char *further = records_of(inode, long_name, fitting_name);
  g_autofree char *expected =
      g_strconcat("path=", long_name, "|gid=2097152|SCHILY.xattr.user.\303\251=a", NULL);
  g_assert_cmpstr(further, ==, expected);

  /* A length whose own digits make it longer: 99 and one more. */
  g_autoptr(TreeInode) link = tree_inode_new(S_IFLNK | 0777);
  for (gsize size = 101; size < 1010; size++) {
    link->target = g_strnfill(size, 't');
    g_autofree char *records = records_of(link, "l", NULL);
    g_assert_cmpuint(strlen(records), ==, strlen("linkpath=|") + size);
    g_clear_pointer(&link->target, g_free);
  }

  g_autoptr(GByteArray) out = g_byte_array_new();
  g_autoptr(GError) error = NULL;
  tree_inode_set_xattr(inode, "user.a=b", "", 0);
  g_assert_false(pax_append_header(out, inode, "a", NULL, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNSUPPORTED);
  g_assert_cmpuint(out->len, ==, 0);
}

/* libarchive is the judge of what we write. */
static void
test_reference_image(void)
{
  Reference reference = {(char *)"/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
                         (char *)"sha256:1xfa6r5im7qkxyahlf1qjplx6mxhqyzmqsbzpypfs6hqcyyd3irv",
                         (char *)DIFF_ID};
  static const char config[] = "{\"os\":\"linux\"}";
  g_autoptr(GError) error = NULL;
  g_autoptr(ReferenceImage) one =
      reference_image_new(&reference, config, strlen(config), "localhost/a:1", &error);
  g_assert_no_error(error);
  g_autoptr(ReferenceImage) two =
      reference_image_new(&reference, config, strlen(config), "localhost/b:1", &error);
  /* Hosts find each other's image by its ID: it may not change from version to version. */
  g_assert_cmpstr(one->id, ==, "f2c6da21df5477d5c7231a50897e56b1950902664a450091814df7d8bfb5c8c9");
  g_assert_cmpstr(two->id, ==, one->id);

  struct archive *archive = archive_read_new();
  struct archive_entry *entry;
  archive_read_support_format_tar(archive);
  g_assert_cmpint(archive_read_open_memory(archive, one->archive->data, one->archive->len), ==,
                  ARCHIVE_OK);
  int n = 0;
  while (archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
    const char *name = archive_entry_pathname(entry);
    gsize size = (gsize)archive_entry_size(entry);
    g_autofree char *data = g_malloc(size + 1);
    g_assert_cmpint(archive_read_data(archive, data, size), ==, (gssize)size);
    if (g_str_has_prefix(name, "blobs/")) {
      g_autofree char *hex = util_sha256_hex(data, size);
      g_assert_cmpstr(name + strlen("blobs/sha256/"), ==, hex);
    }
    n++;
  }
  g_assert_cmpint(n, ==, 5);
  archive_read_free(archive);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/oci/collapse", test_collapse);
  g_test_add_func("/oci/collapse-refused", test_collapse_refused);
  g_test_add_func("/argument/image-name", test_image_name);
  g_test_add_func("/argument/default-name", test_default_name);
  g_test_add_func("/ustar", test_ustar);
  g_test_add_func("/pax", test_pax);
  g_test_add_func("/reference-image", test_reference_image);
  return g_test_run();
}
