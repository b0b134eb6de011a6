/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>
#include <sys/mount.h>

#include "idmap.h"
#include "options.h"
#include "util.h"

static MountOptions *
parse(const char *text)
{
  g_autoptr(GError) error = NULL;
  MountOptions *options = options_parse(text, &error);

  g_assert_no_error(error);
  g_assert_nonnull(options);
  return options;
}

static void
assert_refused(const char *text, NixstoreError code, const char *says)
{
  g_autoptr(GError) error = NULL;

  g_assert_null(options_parse(text, &error));
  g_assert_error(error, NIXSTORE_ERROR, (int)code);
  g_assert_nonnull(strstr(error->message, says));
  g_assert_null(strchr(error->message, '\n'));
}

static void
assert_lowers(const char *text, const char *expected)
{
  g_autoptr(MountOptions) options = parse(text);
  g_autofree char *joined = g_strjoinv("|", options->lowers);

  g_assert_cmpstr(joined, ==, expected);
}

static void
assert_range(const GArray *ranges, guint i, guint32 container, guint32 host, guint32 size)
{
  const IdRange *range = &g_array_index(ranges, IdRange, i);

  g_assert_cmpuint(range->container, ==, container);
  g_assert_cmpuint(range->host, ==, host);
  g_assert_cmpuint(range->size, ==, size);
}

/* Strings as Podman 4.3 and 5.4 were seen to pass them. */
static void
test_podman(void)
{
  g_autoptr(MountOptions) run =
      parse("lowerdir=/h/l/A:/h/l/B,upperdir=/h/1/diff,workdir=/h/1/work,,volatile");
  g_autofree char *lowers = g_strjoinv("|", run->lowers);
  g_assert_cmpstr(lowers, ==, "/h/l/A|/h/l/B");
  g_assert_cmpstr(run->upper, ==, "/h/1/diff");
  g_assert_cmpstr(run->work, ==, "/h/1/work");
  g_assert_true(run->is_volatile);
  g_assert_null(run->uids);
  g_assert_null(run->context);

  g_autoptr(MountOptions) start = parse("lowerdir=/a,upperdir=/u,workdir=/w,");
  g_assert_false(start->is_volatile);

  g_autoptr(MountOptions) image = parse("lowerdir=/h/1/diff:/h/1/empty");
  g_assert_null(image->upper);
  g_assert_null(image->work);

  g_autoptr(MountOptions) mapped =
      parse("lowerdir=/h/1/mapped/0/l/A,upperdir=/u,workdir=/w,,volatile,"
            "uidmapping=:0:100000:1000:1000:300000:5,gidmapping=:0:200000:65536");
  g_assert_cmpuint(mapped->uids->len, ==, 2);
  assert_range(mapped->uids, 0, 0, 100000, 1000);
  assert_range(mapped->uids, 1, 1000, 300000, 5);
  g_assert_cmpuint(mapped->gids->len, ==, 1);
  assert_range(mapped->gids, 0, 0, 200000, 65536);

  g_autoptr(MountOptions) selinux =
      parse("lowerdir=/a,upperdir=/u,workdir=/w,,context=\"system_u:object_r:container_file_t:"
            "s0:c1,c2\",uidmapping=0:1:2,gidmapping=0:1:2");
  g_assert_cmpstr(selinux->context, ==, "system_u:object_r:container_file_t:s0:c1,c2");
  g_assert_nonnull(selinux->uids);

  g_autoptr(MountOptions) volume = parse("lowerdir=/d,upperdir=/u,workdir=/w,private");
  g_assert_cmpuint(volume->attributes, ==, 0);
}

static void
test_lowers(void)
{
  assert_lowers("lowerdir=/a\\:b:/c", "/a:b|/c");
  assert_lowers("lowerdir=/a\\,b\\\\:/c", "/a,b\\|/c");
  assert_lowers("lowerdir=/a\\b:/c\\", "/a\\b|/c\\");
  assert_lowers("lowerdir=::/a::/b:", "/a|/b");
  assert_lowers("lowerdir=\"/a,b\":/c", "/a,b|/c");
  assert_lowers("lowerdir=l/A:l/B/../diff1", "l/A|l/B/../diff1");
  assert_lowers(",,lowerdir=/x,,", "/x");
  assert_lowers("lowerdir=/x,lowerdir=/y", "/y");
  assert_lowers("lowerdir=/a=b", "/a=b");
  assert_lowers("lowerdir=/\xff\x01", "/\xff\x01");
}

static void
test_attributes(void)
{
  g_autoptr(MountOptions) options = parse("nodev,lowerdir=/a,nosuid,noexec,exec,ro,rw,noatime");

  g_assert_cmpuint(options->attributes, ==,
                   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME);
}

static void
test_refused(void)
{
  static const struct {
    const char *text;
    NixstoreError code;
    const char *says;
  } cases[] = {
      {"", NIXSTORE_ERROR_INVALID, "no lowerdir"},
      {",,,", NIXSTORE_ERROR_INVALID, "no lowerdir"},
      {"lowerdir=", NIXSTORE_ERROR_INVALID, "no lowerdir"},
      {"lowerdir=:::", NIXSTORE_ERROR_INVALID, "no lowerdir"},
      {"lowerdir", NIXSTORE_ERROR_INVALID, "unknown mount option \"lowerdir\""},
      {"lowerdirx=/a", NIXSTORE_ERROR_INVALID, "unknown mount option"},
      {"lowerdir=/a,upperdir=/b", NIXSTORE_ERROR_INVALID, "without workdir"},
      {"lowerdir=/a,workdir=/b", NIXSTORE_ERROR_INVALID, "without upperdir"},
      {"lowerdir=/a,upperdir=/u,workdir=", NIXSTORE_ERROR_INVALID, "without workdir"},
      {"lowerdir=/a,uidmapping=0:1:2", NIXSTORE_ERROR_INVALID, "without gidmapping"},
      {"lowerdir=/a,gidmapping=0:1:2,uidmapping=:", NIXSTORE_ERROR_INVALID, "without uidmapping"},
      {"lowerdir=/a,uidmapping=0:1", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:0", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:x", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:2x", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:-1:2", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:4294967295", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:99999999999", NIXSTORE_ERROR_INVALID, "CONTAINER:HOST:SIZE"},
      {"lowerdir=/a,uidmapping=0:1:5:4:9:1", NIXSTORE_ERROR_INVALID, "overlap"},
      {"lowerdir=/a,uidmapping=0:1:5:9:5:1", NIXSTORE_ERROR_INVALID, "overlap"},
      {"lowerdir=/a,squash_to_uid=5", NIXSTORE_ERROR_UNSUPPORTED, "squash_to_uid=5"},
      {"lowerdir=/a,foo", NIXSTORE_ERROR_INVALID, "unknown mount option \"foo\""},
      {"lowerdir=/a,metacopy=on", NIXSTORE_ERROR_INVALID, "unknown mount option"},
      {"lowerdir=/a,new\nline", NIXSTORE_ERROR_INVALID, "new\\x0aline"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
    assert_refused(cases[i].text, cases[i].code, cases[i].says);

  g_autoptr(GString) many = g_string_new("lowerdir=/a");
  for (int i = 1; i < OPTIONS_MAX_LOWERS; i++)
    g_string_append(many, ":/a");
  g_autoptr(MountOptions) options = parse(many->str);
  g_assert_cmpuint(g_strv_length(options->lowers), ==, OPTIONS_MAX_LOWERS);
  g_string_append(many, ":/a");
  assert_refused(many->str, NIXSTORE_ERROR_INVALID, "more than");
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/options/podman", test_podman);
  g_test_add_func("/options/lowers", test_lowers);
  g_test_add_func("/options/attributes", test_attributes);
  g_test_add_func("/options/refused", test_refused);
  return g_test_run();
}
