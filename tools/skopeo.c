/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "skopeo.h"
#include "run.h"

#include <string.h>

char *skopeo_authfile;
static const char *tls_verify; /* "true", "false"; NULL: as registries.conf has it */

gboolean
skopeo_parse_tls_verify(const char *name, const char *value, gpointer data, GError **error)
{
  if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "--tls-verify: `%s' is neither true nor false", value);
    return FALSE;
  }
  tls_verify = *value == 't' ? "true" : "false";
  return TRUE;
}

gboolean
skopeo_has_options(void)
{
  return skopeo_authfile || tls_verify;
}

static void
add(GPtrArray *argv, const char *argument)
{
  g_ptr_array_add(argv, (char *)argument);
}

gboolean
skopeo_copy(const SkopeoCopy *copy, GError **error)
{
  g_autoptr(GPtrArray) argv = g_ptr_array_new();
  g_autofree char *authfile = g_strconcat("--", copy->side, "-authfile", NULL);
  g_autofree char *verify =
      g_strconcat("--", copy->side, "-tls-verify=", tls_verify ? tls_verify : "", NULL);
  const char *registries = g_getenv("CONTAINERS_REGISTRIES_CONF");
  add(argv, "skopeo");
  /* Podman reads this from the environment, skopeo does not. */
  if (registries) {
    add(argv, "--registries-conf");
    add(argv, registries);
  }
  for (const char *const *option = copy->options; option && *option; option++)
    add(argv, *option);
  add(argv, "copy");
  add(argv, "--quiet");
  if (skopeo_authfile) {
    add(argv, authfile);
    add(argv, skopeo_authfile);
  }
  if (tls_verify)
    add(argv, verify);
  add(argv, copy->source);
  add(argv, copy->destination);
  add(argv, NULL);
  const RunProgram skopeo = {
      .argv = (const char *const *)argv->pdata,
      .what = "skopeo copy",
      .hint = "install skopeo, which knows this kind of place",
      .tmpdir = copy->tmpdir,
  };
  return run_program(&skopeo, NULL, error);
}
