/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the reader makes of tars; stock Podman's archive/tar is the measure. Where libarchive does
 * not let us follow it, the case says so.
 */
#include "config.h"

#include "tar-fixture.h"
#include "tar-listing.h"
#include "util.h"

#include <locale.h>
#include <string.h>

#define BLOCK 512

typedef struct {
  const char *name;
  TarFixture entries[8]; /* up to one without a path */
  const char *expected;  /* a line an entry; or, if it starts with '!', part of the error */
} Case;

#define TIME(text) .path = "a", .type = '2', .link = "b", .pax = {"mtime=" text}
#define TIME_IS(text) "2 a -> b 0644 0:0 " text "\n"
#define NAME(text)                                                                                 \
  "name " text, {{.path = "short", .pax = {"path=" text}}}, "0 " text " 0644 0:0 0.000000000 \n"

static const Case cases[] = {
    {"nothing", {{0}}, ""},
    {"types",
     {{.path = "f", .data = "x"},
      {.type = '1', .path = "h", .link = "f"},
      {.type = '2', .path = "s", .link = "f"},
      {.type = '3', .path = "c", .major = 1, .minor = 3},
      {.type = '4', .path = "b", .major = 4095, .minor = 1048575},
      {.type = '5', .path = "d", .mode = 01777, .uid = 1, .gid = 2, .mtime = 3},
      {.type = '6', .path = "p"}},
     "0 f 0644 0:0 0.000000000 x\n"
     "1 h -> f 0644 0:0 0.000000000\n"
     "2 s -> f 0644 0:0 0.000000000\n"
     "3 c 0644 0:0 0.000000000 1,3\n"
     "4 b 0644 0:0 0.000000000 4095,1048575\n"
     "5 d 01777 1:2 3.000000000\n"
     "6 p 0644 0:0 0.000000000\n"},
    {"contiguous file", {{.type = '7', .path = "a"}}, "!a: a tar entry of unknown type 0x37"},
    {"unknown type", {{.type = 'Q', .path = "a"}}, "!unknown type 0x51"},
    {"a dumped directory", {{.type = 'D', .path = "a"}}, "!unknown type 0x44"},
    {"a part of a file", {{.type = 'M', .path = "a"}}, "!unknown type 0x4d"},

    /* Composed, decomposed, of a pair of surrogates, and not UTF-8 at all. */
    {NAME("\303\251")},
    {NAME("e\314\201")},
    {NAME("\355\240\274\355\270\200")},
    {NAME("\377\376")},
    {NAME(" \n\t\\")},
    {"a target that is not UTF-8",
     {{.type = '2', .path = "a", .pax = {"linkpath=e\314\201\377"}}},
     "2 a -> e\314\201\377 0644 0:0 0.000000000\n"},
    {"a name that is not UTF-8 in ustar",
     {{.path = "e\314\201\377"}},
     "0 e\314\201\377 0644 0:0 0.000000000 \n"},
    {"owners' names that are not UTF-8",
     {{.path = "a", .pax = {"uname=\377", "gname=\377"}}},
     "0 a 0644 0:0 0.000000000 \n"},
    {"hdrcharset",
     {{.path = "a", .pax = {"hdrcharset=BINARY", "path=e\314\201\377"}}},
     "0 e\314\201\377 0644 0:0 0.000000000 \n"},
    {"an empty record says nothing",
     {{.path = "a", .pax = {"path=", "linkpath="}}},
     "0 a 0644 0:0 0.000000000 \n"},
    {"a file with a target is a file",
     {{.path = "a", .data = "x", .pax = {"linkpath=b"}}},
     "0 a 0644 0:0 0.000000000 x\n"},
    {"a file with a slash at its end is a file", {{.path = "a/"}}, "0 a/ 0644 0:0 0.000000000 \n"},
    {"the same with content", {{.path = "a/", .data = "x"}}, "!a/: content of what is no file"},

    {"a fraction", {{TIME("1.000000001")}}, TIME_IS("1.000000001")},
    {"digits beyond the ninth", {{TIME("1.9999999999")}}, TIME_IS("1.999999999")},
    {"before 1970", {{TIME("-1")}}, TIME_IS("-1.000000000")},
    {"before 1970, with a fraction", {{TIME("-1.999999999")}}, TIME_IS("-2.000000001")},
    {"before 1901, with a fraction", {{TIME("-2147483649.25")}}, TIME_IS("-2147483650.750000000")},
    {"the last second of 1969", {{TIME("-0.5")}}, TIME_IS("-1.500000000")},
    {"the first second of 1970", {{TIME("0.5")}}, TIME_IS("0.500000000")},
    /* archive/tar refuses it. */
    {"no time at all", {{TIME("yesterday")}}, TIME_IS("0.000000000")},

    {"owners",
     {{.path = "a", .pax = {"uid=4294967294", "gid=4294967295"}}, {.path = "b", .uid = 7}},
     "0 a 0644 4294967294:4294967295 0.000000000 \n0 b 0644 7:0 0.000000000 \n"},
    {"negative owner", {{.path = "a", .pax = {"uid=-5"}}}, "0 a 0644 -5:0 0.000000000 \n"},
    {"ACLs do not touch the mode",
     {{.path = "a",
       .mode = 0664,
       .pax = {"SCHILY.acl.access=user::rw-,user:u:rwx:7,group::r--,mask::rw-,other::---"}}},
     "0 a 0664 0:0 0.000000000 \n"},
    {"xattrs: the last of a name counts, an empty one is none",
     {{.path = "a",
       .pax = {"SCHILY.xattr.user.a=1", "SCHILY.xattr.user.b=x=y\n", "SCHILY.xattr.user.c=1",
               "SCHILY.xattr.user.a=2", "SCHILY.xattr.user.c=", "SCHILY.xattr.user.%41=1"}},
      {.path = "b"}},
     "0 a 0644 0:0 0.000000000  user.%41=1 user.a=2 user.b=x=y\n\n"
     "0 b 0644 0:0 0.000000000 \n"},
    /* archive/tar does not know them; bsdtar writes them beside the others. */
    {"libarchive's own xattrs",
     {{.path = "a", .pax = {"LIBARCHIVE.xattr.user.%61=MQ", "SCHILY.xattr.user.a=1"}}},
     "0 a 0644 0:0 0.000000000  user.a=1\n"},
    {"macOS's companions are files",
     {{.path = "._a", .data = "x"}, {.path = "a", .data = "y"}},
     "0 ._a 0644 0:0 0.000000000 x\n0 a 0644 0:0 0.000000000 y\n"},

    {"size of a pax header",
     {{.path = "a", .data = "xyz", .pax = {"size=2"}}},
     "0 a 0644 0:0 0.000000000 xy\n"},
    {"negative size", {{.path = "a", .data = "x", .pax = {"size=-1"}}}, "!negative"},
    {"overflowing size",
     {{.path = "a", .data = "x", .pax = {"size=99999999999999999999"}}},
     "!overflow"},
    /* archive/tar takes these for empty, and the content for headers. */
    {"a directory with content",
     {{.type = '5', .path = "a", .data = "x", .pax = {"size=1"}}, {.path = "b"}},
     "!a: its content is not as long as its header says"},
    {"a directory that says its content is none",
     {{.type = '5', .path = "a", .data = "x", .pax = {"SCHILY.realsize=0", "size=1"}},
      {.path = "b"}},
     "!a: its content is not as long as its header says"},
    {"a hard link with content",
     {{.path = "f"}, {.type = '1', .path = "a", .link = "f", .data = "x", .pax = {"comment=pax"}}},
     "!a: its content is not as long as its header says"},

    {"sparse 0.0",
     {{.path = "a",
       .data = "AABB",
       .pax = {"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.offset=1",
               "GNU.sparse.numbytes=2", "GNU.sparse.offset=6", "GNU.sparse.numbytes=2"}}},
     "0 a 0644 0:0 0.000000000 .AA...BB.\n"},
    {"sparse 0.1",
     {{.path = "b/a",
       .data = "AABB",
       .pax = {"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.name=a",
               "GNU.sparse.map=1,2,6,2"}},
      {.path = "b"}},
     "0 a 0644 0:0 0.000000000 .AA...BB.\n0 b 0644 0:0 0.000000000 \n"},
    /* No tar writes this; archive/tar would take it. */
    {"sparse 0.1, its version named",
     {{.path = "a",
       .data = "AA",
       .pax = {"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=9",
               "GNU.sparse.map=1,2"}}},
     "!Unrecognized GNU sparse file format"},
    {"sparse: overlapping",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=1,2,2,2"}}},
     "!a malformed map of a sparse file"},
    {"sparse: out of order",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=6,2,1,2"}}},
     "!a malformed map of a sparse file"},
    {"sparse: beyond the end",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=1,2,8,2"}}},
     "!a malformed map of a sparse file"},
    {"sparse: more than there is",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=1,2,5,3"}}},
     "!a: its content is not as long as its header says"},
    /* archive/tar does not heed it. */
    {"sparse: no map",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9"}}},
     "!a: its content is not as long as its header says"},
    {"sparse: less than there is",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=1,2"}},
      {.path = "b"}},
     "!a: its content is not as long as its header says"},
    {"sparse: not a number",
     {{.path = "a", .data = "AABB", .pax = {"GNU.sparse.size=9", "GNU.sparse.map=1,2,x,2"}}},
     "!corrupt"},
};

/* Gives a tar in pieces of an odd size, each in memory of its own, so that a sanitizer sees who
 * holds on to one; at its end fails if it is to. */
typedef struct {
  const GByteArray *tar;
  gsize offset, piece;
  guint8 *copy;
  gboolean fail;
} Input;

static gboolean
fill(void *data, const guint8 **ret_piece, gsize *ret_size, GError **error)
{
  Input *input = data;
  gsize size = MIN(input->piece, input->tar->len - input->offset);

  if (size == 0 && input->fail)
    return util_error(error, NIXSTORE_ERROR_FAILED, "the medium is gone");
  g_free(input->copy);
  input->copy = g_memdup2(input->tar->data + input->offset, size);
  *ret_piece = input->copy;
  *ret_size = size;
  input->offset += size;
  return TRUE;
}

/* Lists all of @tar; the content of files only if @read, skipped if not. */
static GString *
list(Input *input, gboolean read, GError **error)
{
  g_autoptr(TarReader) reader = tar_reader_new(fill, NULL, input);
  GString *text = g_string_new(NULL);
  gboolean ok = tar_listing_append(text, reader, read, error);

  g_free(g_steal_pointer(&input->copy));
  if (ok)
    return text;
  g_string_free(text, TRUE);
  return NULL;
}

static void
assert_list(const char *name, const GByteArray *tar, const char *expected)
{
  static const gsize pieces[] = {1, 100, 511, 512, 1024, 1000000};

  for (gsize i = 0; i < G_N_ELEMENTS(pieces); i++) {
    g_autoptr(GError) error = NULL;
    Input input = {tar, 0, pieces[i], NULL, FALSE};
    GString *text = list(&input, TRUE, &error);

    if (*expected == '!') {
      g_assert_null(text);
      g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
      if (strstr(error->message, expected + 1) == NULL)
        g_error("%s, pieces of %zu: got the error: %s", name, pieces[i], error->message);
      continue;
    }
    g_assert_no_error(error);
    g_assert_cmpstr(text->str, ==, expected);
    g_string_free(text, TRUE);
  }
}

static void
test_case(gconstpointer data)
{
  const Case *c = data;
  gsize count = 0;
  g_autoptr(GByteArray) tar = NULL;

  while (count < G_N_ELEMENTS(c->entries) && c->entries[count].path != NULL)
    count++;
  tar = tar_fixture_new(c->entries, count);
  assert_list(c->name, tar, c->expected);
}

static void
append(GByteArray *tar, const void *data, gsize size)
{
  g_byte_array_append(tar, data, (guint)size);
}

#define A "0 a 0644 0:0 0.000000000 x\n"
#define B "0 b 0644 0:0 0.000000000 y\n"

/* Where an archive ends, and where it may not. */
static void
test_ends(void)
{
  static const guint8 zeros[4 * BLOCK];
  static const TarFixture a = {.path = "a", .data = "x"}, b = {.path = "b", .data = "y"};
  g_autoptr(GByteArray) tar = g_byte_array_new();

  assert_list("no bytes", tar, "");
  append(tar, zeros, BLOCK);
  assert_list("a block of zeros", tar, "");
  append(tar, zeros, BLOCK);
  assert_list("two blocks of zeros", tar, "");
  append(tar, "garbage", 7);
  assert_list("garbage behind them", tar, "");

  g_byte_array_set_size(tar, 0);
  tar_fixture_add(tar, &a);
  assert_list("no end marker", tar, A);
  append(tar, zeros, BLOCK);
  assert_list("half an end marker", tar, A);
  tar_fixture_add(tar, &b);
  assert_list("a lone block of zeros", tar, "!a lone block of zeros in its middle");
  g_byte_array_set_size(tar, 2 * BLOCK);
  tar_fixture_end(tar);
  tar_fixture_add(tar, &b);
  assert_list("another archive behind the end marker", tar, A);

  /* As of a writer that was not closed. */
  g_byte_array_set_size(tar, BLOCK + 1);
  assert_list("no padding", tar, A);
  g_byte_array_set_size(tar, 2 * BLOCK - 1);
  assert_list("not all of the padding", tar, A);
  g_byte_array_set_size(tar, BLOCK);
  assert_list("no content", tar, "!the tar archive is cut off");
  /* Of which the last bytes are zeros, and might be taken for padding. */
  g_byte_array_set_size(tar, BLOCK - 1);
  assert_list("not all of a header", tar, "!the tar archive is cut off");
  g_byte_array_set_size(tar, 1);
  assert_list("next to nothing of a header", tar, "!Damaged tar archive");
}

static void
test_cut_content(void)
{
  g_autofree char *content = g_strnfill(1000, 'x');
  const TarFixture a = {.path = "a", .data = content};
  g_autoptr(GByteArray) tar = g_byte_array_new();

  tar_fixture_add(tar, &a);
  for (guint size = BLOCK; size < BLOCK + 1000; size += 100) {
    g_byte_array_set_size(tar, size);
    for (int read = 0; read <= 1; read++) {
      g_autoptr(GError) error = NULL;
      Input input = {tar, 0, 300, NULL, FALSE};
      g_assert_null(list(&input, read, &error));
      g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
      g_assert_nonnull(strstr(error->message, "the tar archive is cut off"));
    }
  }
}

/* What cannot be read is an error of its own, not of the archive. */
static void
test_failing_input(void)
{
  g_autofree char *content = g_strnfill(1000, 'x');
  const TarFixture a = {.path = "a", .data = content, .pax = {"comment=x"}};
  g_autoptr(GByteArray) tar = g_byte_array_new();

  tar_fixture_add(tar, &a);
  for (guint size = 4 * BLOCK + BLOCK;; size -= 100) {
    g_byte_array_set_size(tar, size);
    for (int read = 0; read <= 1; read++) {
      g_autoptr(GError) error = NULL;
      Input input = {tar, 0, 300, NULL, TRUE};
      g_assert_null(list(&input, read, &error));
      g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_FAILED);
      g_assert_cmpstr(error->message, ==, "the medium is gone");
    }
    if (size < 100)
      break;
  }
}

/* Headers that only say something of the next one. */
static void
test_special(void)
{
  g_autofree char *name = g_strnfill(3000, 'n');
  g_autofree char *with_name = g_strdup_printf("0 %s 0644 0:0 0.000000000 x\n", name);
  g_autofree char *with_link = g_strdup_printf("2 s -> %s 0644 0:0 0.000000000\n", name);
  static const TarFixture a = {.path = "a", .data = "x"}, s = {.type = '2', .path = "s"};
  static const TarFixture pax = {.path = "a", .data = "x", .pax = {"path=b"}};
  g_autoptr(GByteArray) tar = g_byte_array_new();

  tar_fixture_add_special(tar, 'L', name, strlen(name) + 1);
  tar_fixture_add(tar, &a);
  tar_fixture_add(tar, &a);
  g_autofree char *both = g_strconcat(with_name, A, NULL);
  assert_list("GNU's long name", tar, both);

  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'L', name, strlen(name) + 1);
  tar_fixture_add(tar, &pax);
  assert_list("GNU's long name and another", tar, with_name);

  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'K', name, strlen(name) + 1);
  tar_fixture_add(tar, &s);
  assert_list("GNU's long target", tar, with_link);

  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'g', "13 path=leak\n7 uid=7\n12 size=10\n", 0x21 - 1);
  tar_fixture_add(tar, &a);
  assert_list("a global header", tar, A);
  g_byte_array_set_size(tar, 2 * BLOCK);
  assert_list("a global header alone", tar, "");

  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'x', "10 path=b\n", 10);
  assert_list("an extended header of nothing", tar, "!Damaged tar archive");
  tar_fixture_end(tar);
  assert_list("an extended header of the end", tar, "!Damaged tar archive");

  for (int type = 0; type < 3; type++) {
    g_byte_array_set_size(tar, 0);
    tar_fixture_add_special(tar, "xLK"[type], name, 0);
    memcpy(tar->data + 124, "77777777777", 11);
    tar_fixture_fix_checksum(tar->data);
    assert_list("a huge special header", tar, "!Special header too large");
  }

  /* archive/tar has the second say all. */
  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'x', "10 path=b\n", 10);
  tar_fixture_add(tar, &pax);
  assert_list("two extended headers", tar, "!alformed");

  g_byte_array_set_size(tar, 0);
  tar_fixture_add_special(tar, 'x', "12 path=b\0c\n", 12);
  tar_fixture_add(tar, &a);
  /* archive/tar refuses it. */
  assert_list("a name with a NUL", tar, "0 b 0644 0:0 0.000000000 x\n");
}

/* A sparse file of format 1.0: the map starts the content. */
static void
add_sparse(GByteArray *tar, const char *map, gsize size, const char *content, const char *real_size)
{
  gsize padded = (size + BLOCK - 1) / BLOCK * BLOCK;
  g_autofree char *body = g_malloc0(padded + strlen(content) + 1);
  TarFixture entry = {
      .path = "GNUSparseFile.0/a",
      .data = body,
      .size = padded + strlen(content),
      .pax = {"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=a", real_size}};
  memcpy(body, map, size);
  strcpy(body + padded, content);
  tar_fixture_add(tar, &entry);
}

static void
test_sparse(void)
{
  static const TarFixture b = {.path = "b", .data = "y"};
  g_autoptr(GByteArray) tar = g_byte_array_new();
  g_autoptr(GString) map = g_string_new("1000000\n");

  add_sparse(tar, "2\n1\n2\n6\n2\n", 10, "AABB", "GNU.sparse.realsize=9");
  tar_fixture_add(tar, &b);
  assert_list("two pieces", tar, "0 a 0644 0:0 0.000000000 .AA...BB.\n" B);
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "0\n", 2, "", "GNU.sparse.realsize=9");
  tar_fixture_add(tar, &b);
  assert_list("all hole", tar, "0 a 0644 0:0 0.000000000 .........\n" B);
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "1\n0\n4\n", 6, "AABB", "GNU.sparse.realsize=4");
  tar_fixture_add(tar, &b);
  assert_list("no hole", tar, "0 a 0644 0:0 0.000000000 AABB\n" B);
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "1\n4\n0\n", 6, "", "GNU.sparse.realsize=4");
  tar_fixture_add(tar, &b);
  assert_list("hole and nothing", tar, "0 a 0644 0:0 0.000000000 ....\n" B);
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "2\n1\n2\n6\n2\n", 10, "AABB", "GNU.sparse.realsize=7");
  assert_list("beyond the end", tar, "!a malformed map of a sparse file");
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "2\n1\n2\n6\n2\n", 10, "AAB", "GNU.sparse.realsize=9");
  assert_list("more than there is", tar, "!a: its content is not as long as its header says");
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, "2\n1\n2\n6", 7, "", "GNU.sparse.realsize=9");
  assert_list("an unfinished map", tar, "!corrupt");

  /* libarchive would make a list of it. */
  for (int i = 0; i < 400000; i++)
    g_string_append(map, "1\n0\n2\n0\n");
  g_byte_array_set_size(tar, 0);
  add_sparse(tar, map->str, map->len, "", "GNU.sparse.realsize=9");
  g_autoptr(GError) error = NULL;
  Input input = {tar, 0, 65536, NULL, FALSE};
  g_assert_null(list(&input, TRUE, &error));
  g_assert_nonnull(strstr(error->message, "tar headers of more than 2097152 bytes"));
}

/* Base 256, and what can be told of an entry's place. */
static void
test_numbers(void)
{
  static const TarFixture a = {.path = "a", .data = "x"}, b = {.path = "b", .data = "y"};
  g_autoptr(GByteArray) tar = g_byte_array_new();
  const TarEntry *entry;

  tar_fixture_add(tar, &a);
  memcpy(tar->data + 108, "\x80\0\0\0\xff\xff\xff\xfe", 8);
  memcpy(tar->data + 116, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8);
  memcpy(tar->data + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
  tar_fixture_fix_checksum(tar->data);
  memcpy(tar->data + 100, "\x80\0\0\0\x7f\xff\x81\xa4", 8);
  tar_fixture_fix_checksum(tar->data);
  assert_list("base 256", tar, "0 a 0644 4294967294:-2 -2.000000000 x\n");
  memcpy(tar->data + 100, "\0 755\0\0\0", 8);
  tar_fixture_fix_checksum(tar->data);
  assert_list("a blank before a number", tar, "0 a 0755 4294967294:-2 -2.000000000 x\n");
  memset(tar->data + 124, 0xff, 12);
  tar_fixture_fix_checksum(tar->data);
  assert_list("a negative size", tar, "!negative");

  g_byte_array_set_size(tar, 0);
  tar_fixture_add(tar, &a);
  tar_fixture_add(tar, &b);
  Input input = {tar, 0, 700, NULL, FALSE};
  g_autoptr(TarReader) reader = tar_reader_new(fill, NULL, &input);
  for (guint64 position = BLOCK; position <= 3 * BLOCK; position += 2 * BLOCK) {
    g_assert_true(tar_reader_next(reader, &entry, NULL));
    g_assert_nonnull(entry);
    g_assert_cmpuint(tar_reader_position(reader), ==, position);
  }
  g_free(input.copy);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  /* Where libarchive would compose names. */
  g_assert_nonnull(setlocale(LC_ALL, "C.UTF-8"));
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *name = util_escape(cases[i].name);
    g_autofree char *path = g_strconcat("/tar-reader/", name, NULL);
    g_strdelimit(path + strlen("/tar-reader/"), "/", '|');
    g_test_add_data_func(path, &cases[i], test_case);
  }
  g_test_add_func("/tar-reader/ends", test_ends);
  g_test_add_func("/tar-reader/cut content", test_cut_content);
  g_test_add_func("/tar-reader/failing input", test_failing_input);
  g_test_add_func("/tar-reader/special headers", test_special);
  g_test_add_func("/tar-reader/sparse 1.0", test_sparse);
  g_test_add_func("/tar-reader/numbers", test_numbers);
  return g_test_run();
}
