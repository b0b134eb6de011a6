/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "command.h"
#include "podman.h"
#include "scratch.h"
#include "util.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

/* In the order in which an image goes through them; the help and the completion follow it. */
static const Command *const commands[] = {
    &command_convert, &command_import, &command_list,   &command_inspect, &command_verify,
    &command_export,  &command_info,   &command_doctor, &command_gc,      NULL,
};

#define HELP_COLUMN 30
#define HELP_WIDTH 90

static gboolean option_help;

static const GOptionEntry common_options[] = {
    {"quiet", 'q', 0, G_OPTION_ARG_NONE, &command_quiet, "No notes and no progress bar", NULL},
    {"help", 'h', 0, G_OPTION_ARG_NONE, &option_help, "Show this help and exit", NULL},
    {0},
};

static const Command *
command_find(const char *name)
{
  for (gsize i = 0; commands[i]; i++)
    if (strcmp(commands[i]->name, name) == 0)
      return commands[i];
  return NULL;
}

static void
print_usage(void)
{
  printf("Usage: nixstore COMMAND [OPTION...] [ARGUMENT...]\n\n"
         "Puts container images into the Nix store, whence Podman runs them.\n\n"
         "Commands:\n");
  for (gsize i = 0; commands[i]; i++)
    printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
  printf("  %-10s %s\n", "help", "Show the help of a command");
  printf("\nOptions:\n"
         "  --help     Show this help and exit\n"
         "  --version  Show the version and exit\n\n"
         "`nixstore help COMMAND` says more of one; so do the man pages nixstore(1) and\n"
         "nixstore-COMMAND(1).\n");
}

static GOptionContext *
command_option_context(const Command *command)
{
  GOptionContext *context = g_option_context_new(NULL);
  g_option_context_set_help_enabled(context, FALSE);
  if (command->options)
    g_option_context_add_main_entries(context, command->options, NULL);
  g_option_context_add_main_entries(context, common_options, NULL);
  if (command->podman)
    g_option_context_add_main_entries(context, podman_options, NULL);
  return context;
}

/* Prints @text from column HELP_COLUMN on, where the cursor is, in lines of HELP_WIDTH. */
static void
print_wrapped(const char *text)
{
  g_auto(GStrv) words = g_strsplit(text, " ", -1);
  gsize column = HELP_COLUMN;
  for (char **word = words; *word; word++) {
    gsize size = strlen(*word);
    if (column > HELP_COLUMN && column + 1 + size > HELP_WIDTH) {
      printf("\n%*s", HELP_COLUMN, "");
      column = HELP_COLUMN;
    }
    column += (gsize)printf("%s%s", column > HELP_COLUMN ? " " : "", *word);
  }
  putchar('\n');
}

static void
print_options(const GOptionEntry *entry)
{
  for (; entry && entry->long_name; entry++) {
    g_autofree char *brief = entry->short_name ? g_strdup_printf("-%c, ", entry->short_name) : NULL;
    g_autofree char *option = g_strdup_printf("  %s--%s%s%s", brief ? brief : "    ",
                                              entry->long_name, entry->arg_description ? " " : "",
                                              entry->arg_description ? entry->arg_description : "");
    printf("%-*s", HELP_COLUMN, option);
    if (strlen(option) >= HELP_COLUMN)
      printf("\n%*s", HELP_COLUMN, "");
    print_wrapped(entry->description);
  }
}

static void
command_print_help(const Command *command)
{
  printf("Usage: nixstore %s [OPTION...]%s%s\n\n%s\n\nOptions:\n", command->name,
         *command->arguments ? " " : "", command->arguments,
         command->description ? command->description : command->summary);
  print_options(command->options);
  print_options(common_options);
  if (!command->podman)
    return;
  printf("\nOptions for Podman:\n");
  print_options(podman_options);
}

static gboolean
command_check_arguments(const Command *command, int n, GError **error)
{
  if (n < command->min_arguments)
    return command_error_usage(error, n == 0 ? "%s is missing" : "arguments are missing: %s",
                               command->arguments);
  if (command->max_arguments >= 0 && n > command->max_arguments)
    return command_error_usage(error, "too many arguments: it takes %s",
                               *command->arguments ? command->arguments : "none");
  return TRUE;
}

/* @argv starts with the command's name. */
static gboolean
command_run(const Command *command, int argc, char **argv, GError **error)
{
  g_autoptr(GOptionContext) context = command_option_context(command);
  if (!g_option_context_parse(context, &argc, &argv, error))
    return FALSE;
  if (option_help) {
    command_print_help(command);
    return TRUE;
  }
  /* GOption leaves the "--" that ends the options where it was. */
  char **arguments = argv + 1;
  int n = argc - 1;
  if (n > 0 && strcmp(arguments[0], "--") == 0) {
    arguments++;
    n--;
  }
  return command_check_arguments(command, n, error) && command->run(arguments, n, error);
}

static int
fail(const Command *command, const GError *error)
{
  g_autofree char *line = util_escape(error->message);
  if (error->domain != G_OPTION_ERROR) {
    fprintf(stderr, "nixstore: %s\n", line);
    return COMMAND_FAILED;
  }
  if (command)
    fprintf(stderr, "nixstore %s: %s (see `nixstore help %s`)\n", command->name, line,
            command->name);
  else
    fprintf(stderr, "nixstore: %s (see `nixstore --help`)\n", line);
  return COMMAND_USAGE;
}

/* Takes the first argument, which is no subcommand's name. Returns FALSE where it is unknown. */
static gboolean
main_run(int argc, char **argv, GError **error)
{
  if (argc < 2)
    return command_error_usage(error, "no command given");
  if (strcmp(argv[1], "--version") == 0) {
    printf("nixstore %s\n", PACKAGE_VERSION);
    return TRUE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
      (strcmp(argv[1], "help") == 0 && argc == 2)) {
    print_usage();
    return TRUE;
  }
  if (strcmp(argv[1], "help") != 0)
    return command_error_usage(error, "unknown %s `%s'", *argv[1] == '-' ? "option" : "command",
                               argv[1]);
  const Command *command = command_find(argv[2]);
  if (!command)
    return command_error_usage(error, "unknown command `%s'", argv[2]);
  command_print_help(command);
  return TRUE;
}

int
main(int argc, char **argv)
{
  util_prepare_process();
  setlocale(LC_ALL, "");
  scratch_guard_signals();
  g_autoptr(GError) error = NULL;
  const Command *command = argc > 1 ? command_find(argv[1]) : NULL;
  gboolean ok =
      command ? command_run(command, argc - 1, argv + 1, &error) : main_run(argc, argv, &error);
  if (ok && (fflush(stdout) != 0 || ferror(stdout))) {
    util_error_errno(&error, "write standard output");
    ok = FALSE;
  }
  scratch_finish();
  return ok ? COMMAND_OK : fail(command, error);
}
