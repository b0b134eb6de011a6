/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * nixstore-mount(8): mounts a container's layers for Podman, those in the Nix store among them.
 * Called as containers/storage calls a mount_program: -o OPTIONS TARGET, in the driver's home
 * directory.
 */
#include "config.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "session.h"
#include "settings.h"
#include "util.h"

typedef struct {
  char *options, *mode, *target;
  gboolean show_version;
} Arguments;

static void
arguments_clear(Arguments *arguments)
{
  g_free(arguments->options);
  g_free(arguments->mode);
  g_free(arguments->target);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

/* -h prints the help and exits, as GOptionContext does it. */
static gboolean
arguments_parse(Arguments *arguments, int argc, char **argv, GError **error)
{
  g_auto(GStrv) targets = NULL;
  const GOptionEntry entries[] = {
      {"options", 'o', 0, G_OPTION_ARG_FILENAME, &arguments->options,
       "lowerdir=A:B,...[,upperdir=U,workdir=W][,uidmapping=M,gidmapping=M][,volatile][,context=C]",
       "OPTIONS"},
      {"mode", 'm', 0, G_OPTION_ARG_STRING, &arguments->mode,
       "How to show a store path: auto, erofs, overlaydir, fuse or bind (default: the "
       "configuration's)",
       "MODE"},
      {"version", 'V', 0, G_OPTION_ARG_NONE, &arguments->show_version, "Print the version", NULL},
      {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &targets, NULL, NULL},
      {NULL},
  };
  g_autoptr(GOptionContext) context = g_option_context_new("TARGET");

  g_option_context_set_summary(
      context,
      "Mounts a container's layers on TARGET; layers that stand for a path in the Nix store "
      "are\nread from there. Podman calls this program: see nixstore-mount(8).");
  g_option_context_add_main_entries(context, entries, NULL);
  if (!g_option_context_parse(context, &argc, &argv, error))
    return FALSE;
  if (arguments->show_version)
    return TRUE;
  if (!arguments->options)
    return util_error(error, NIXSTORE_ERROR_INVALID, "no -o OPTIONS given (see --help)");
  if (!targets || !targets[0] || targets[1])
    return util_error(error, NIXSTORE_ERROR_INVALID, "exactly one TARGET is wanted (see --help)");
  arguments->target = g_strdup(targets[0]);
  return TRUE;
}

static gboolean
run(const Arguments *arguments, GError **error)
{
  const Settings *settings = settings_get(error);

  if (!settings)
    return FALSE;
  const char *mode = arguments->mode ? arguments->mode : settings->mode;
  return session_mount(arguments->options, mode ? mode : "auto", arguments->target, error);
}

int
main(int argc, char **argv)
{
  g_auto(Arguments) arguments = {0};
  g_autoptr(GError) error = NULL;

  util_prepare_process();
  if (arguments_parse(&arguments, argc, argv, &error)) {
    if (arguments.show_version) {
      printf("nixstore-mount %s\n", PACKAGE_VERSION);
      return 0;
    }
    if (run(&arguments, &error))
      return 0;
  }
  /* One line, whatever names are in it. */
  g_autofree char *message = util_escape(error->message);
  fprintf(stderr, "nixstore-mount: %s\n", message);
  return 1;
}
