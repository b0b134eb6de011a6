/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "reference.h"
#include "store.h"
#include "util.h"

#include <glib/gstdio.h>
#include <string.h>

#define PATH "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello"
#define HASH "sha256:1xfa6r5im7qkxyahlf1qjplx6mxhqyzmqsbzpypfs6hqcyyd3irv"
#define DIGEST "sha256:556f6a61bc6b860d8fc46452663bdef0a5f646b08d2dd56d9c14eef4646ee43d"
#define REFERENCE(path, hash, digest)                                                              \
  "{\"version\":1,\"storePath\":\"" path "\",\"narHash\":\"" hash                                  \
  "\",\"manifestDigest\":\"" digest "\"}"
#define GOOD REFERENCE(PATH, HASH, DIGEST)

static void
test_store_path(void)
{
  static const char *const good[] = {
      PATH,
      "/nix/store/00000000000000000000000000000000-a",
      "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-a+b-c._?=9Z",
  };
  static const char *const bad[] = {
      "",
      "/",
      "/nix/store",
      "/nix/store/",
      "/nix/stor",
      "/nix/store2/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
      "nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
      "/etc/passwd",
      PATH "/",
      PATH "/rootfs",
      PATH "/../../../etc",
      PATH "\n",
      PATH " ",
      PATH "\xc3\xa9",
      "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9",
      "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-",
      "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-.hidden",
      "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb-hello",
      "/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb99-hello",
      "/nix/store/ev6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
      "/nix/store/ZV6MD1B1W3G95W91BX7NRA2AMQM6YBB9-hello",
      "/nix/store/../store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
      "/nix/store//zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello",
      "--version",
  };
  for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_true(store_path_check(good[i], &error));
    g_assert_no_error(error);
  }
  for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
    g_autoptr(GError) error = NULL;
    g_test_message("%s", bad[i]);
    g_assert_false(store_path_check(bad[i], &error));
    g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_UNTRUSTED);
  }
}

static void
test_store_name(void)
{
  char name[214];
  memset(name, 'a', sizeof name);
  name[212] = '\0';
  g_assert_false(store_name_is_valid(name));
  name[211] = '\0';
  g_assert_true(store_name_is_valid(name));
  g_assert_false(store_name_is_valid(""));
  g_assert_false(store_name_is_valid(".a"));
  g_assert_false(store_name_is_valid("a/b"));
  g_assert_false(store_name_is_valid("a b"));
  g_assert_false(store_name_is_valid("a:b"));
  g_assert_true(store_name_is_valid("-a"));
}

static void
test_round_trip(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Reference) reference = reference_parse(GOOD, strlen(GOOD), &error);
  g_assert_no_error(error);
  g_assert_cmpstr(reference->store_path, ==, PATH);
  g_assert_cmpstr(reference->nar_hash, ==, HASH);
  g_assert_cmpstr(reference->manifest_digest, ==, DIGEST);
  g_autofree char *text = reference_serialise(reference);
  g_assert_cmpstr(text, ==,
                  "{\n  \"version\": 1,\n  \"storePath\": \"" PATH "\",\n  \"narHash\": \"" HASH
                  "\",\n  \"manifestDigest\": \"" DIGEST "\"\n}\n");
}

static const struct {
  const char *text;
  int code;
} refused[] = {
    {"", NIXSTORE_ERROR_INVALID},
    {"x", NIXSTORE_ERROR_INVALID},
    {"[]", NIXSTORE_ERROR_INVALID},
    {"{}", NIXSTORE_ERROR_INVALID},
    {GOOD "x", NIXSTORE_ERROR_INVALID},
    {"{\"version\":2}", NIXSTORE_ERROR_INVALID},
    {"{\"version\":\"1\"}", NIXSTORE_ERROR_INVALID},
    {"{\"version\":1.0}", NIXSTORE_ERROR_INVALID},
    {"{\"version\":1,\"version\":1}", NIXSTORE_ERROR_INVALID},
    {"{\"version\":1,\"storePath\":\"" PATH "\"}", NIXSTORE_ERROR_INVALID},
    {REFERENCE("/etc", HASH, DIGEST), NIXSTORE_ERROR_UNTRUSTED},
    {REFERENCE(PATH "/../..", HASH, DIGEST), NIXSTORE_ERROR_UNTRUSTED},
    {REFERENCE(PATH "\\u0000", HASH, DIGEST), NIXSTORE_ERROR_INVALID},
    {REFERENCE(PATH, HASH "0", DIGEST), NIXSTORE_ERROR_INVALID},
    {REFERENCE(PATH, "sha512:1xfa6r5im7qkxyahlf1qjplx6mxhqyzmqsbzpypfs6hqcyyd3irv", DIGEST),
     NIXSTORE_ERROR_INVALID},
    {REFERENCE(PATH, DIGEST, DIGEST), NIXSTORE_ERROR_INVALID},
    {REFERENCE(PATH, HASH, HASH), NIXSTORE_ERROR_INVALID},
    {REFERENCE(PATH, HASH, "sha256:../../x"), NIXSTORE_ERROR_INVALID},
};

static void
test_refused(void)
{
  for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
    g_autoptr(GError) error = NULL;
    g_test_message("%s", refused[i].text);
    g_assert_null(reference_parse(refused[i].text, strlen(refused[i].text), &error));
    g_assert_error(error, NIXSTORE_ERROR, refused[i].code);
  }
}

/* Leaves *@reference alone unless it finds one. */
static gboolean
read_layer(const char *layer, Reference **reference, GError **error)
{
  autofd int fd = open(layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint(fd, >=, 0);
  return reference_read(fd, reference, error);
}

static void
assert_ordinary(const char *layer)
{
  g_autoptr(GError) error = NULL;
  Reference *reference = (Reference *)layer;
  g_assert_true(read_layer(layer, &reference, &error));
  g_assert_no_error(error);
  g_assert_null(reference);
}

static void
test_read(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Reference) reference = NULL;
  g_autofree char *layer = g_dir_make_tmp("nixstore-test-XXXXXX", NULL);
  g_autofree char *dir = g_build_filename(layer, ".nixstore", NULL);
  g_autofree char *file = g_build_filename(dir, "reference.json", NULL);
  g_autofree char *other = g_build_filename(layer, "other.json", NULL);
  g_autofree char *big = g_strnfill(REFERENCE_MAX_SIZE + 1, ' ');
  struct stat st;

  assert_ordinary(layer);
  g_assert_true(g_file_set_contents(dir, "a file", -1, NULL));
  assert_ordinary(layer);
  g_unlink(dir);
  g_assert_cmpint(symlink("/etc", dir), ==, 0);
  assert_ordinary(layer);
  g_unlink(dir);
  g_mkdir(dir, 0755);
  assert_ordinary(layer);
  /* A symlink, even to a good one. */
  g_assert_true(g_file_set_contents(other, GOOD, -1, NULL));
  g_assert_cmpint(symlink("../other.json", file), ==, 0);
  assert_ordinary(layer);
  g_unlink(file);
  g_assert_cmpint(mkfifo(file, 0644), ==, 0);
  assert_ordinary(layer);
  g_unlink(file);
  g_mkdir(file, 0755);
  assert_ordinary(layer);
  g_rmdir(file);
  g_assert_true(g_file_set_contents(file, big, -1, NULL));
  g_assert_cmpint(stat(file, &st), ==, 0);
  assert_ordinary(layer);

  g_assert_true(g_file_set_contents(file, GOOD, -1, NULL));
  g_assert_true(read_layer(layer, &reference, &error));
  g_assert_no_error(error);
  g_assert_cmpstr(reference->store_path, ==, PATH);

  Reference *untouched = reference;
  g_assert_true(g_file_set_contents(file, "{}", -1, NULL));
  g_assert_false(read_layer(layer, &untouched, &error));
  g_assert_error(error, NIXSTORE_ERROR, NIXSTORE_ERROR_INVALID);
  g_assert_true(untouched == reference);
  g_assert_true(util_remove_tree(AT_FDCWD, layer, NULL));
}

int
main(int argc, char **argv)
{
  g_unsetenv("NIX_STORE_DIR");
  g_unsetenv("NIXSTORE_STORE");
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/store/path", test_store_path);
  g_test_add_func("/store/name", test_store_name);
  g_test_add_func("/reference/round-trip", test_round_trip);
  g_test_add_func("/reference/refused", test_refused);
  g_test_add_func("/reference/read", test_read);
  return g_test_run();
}
