/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a subcommand of nixstore(1) is. One file a subcommand, which defines one Command; one row
 * for it in the table of main.c. main() parses the options, prints the help, counts the arguments,
 * prints the error and chooses the exit status; a subcommand does its work and returns.
 */
#pragma once

#include <glib.h>

/* Exit statuses, as nixstore(1) documents them. */
enum { COMMAND_OK = 0, COMMAND_FAILED = 1, COMMAND_USAGE = 2 };

typedef struct {
  const char *name;
  const char *arguments;       /* what follows the options on the usage line: "STOREPATH DEST" */
  const char *summary;         /* one line, for the list in nixstore --help */
  const char *description;     /* for the command's own --help; may be NULL */
  const GOptionEntry *options; /* ends with an entry of zeroes; NULL for none */
  gboolean podman;             /* takes the options of podman.h as well */
  int min_arguments;
  int max_arguments; /* -1: any number */
  /* Does the work. @arguments has @n_arguments items and a NULL at its end. Standard output is for
   * data alone. Returns FALSE with @error set to one line; command_error_usage() for what is the
   * user's mistake on the command line. */
  gboolean (*run)(char **arguments, int n_arguments, GError **error);
} Command;

/* Sets @error to a mistake on the command line: exit status 2 and a hint at --help. Returns FALSE.
 */
gboolean command_error_usage(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Prints @format to standard error with "nixstore: " before it: a note that is no error. Says
 * nothing under --quiet. */
void command_note(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* From now on notes go to syslog(3): for a process that nobody sees. */
void command_note_to_syslog(void);

/* --quiet was given: neither notes nor progress bars. main() sets it. */
extern gboolean command_quiet;

extern const Command command_convert;
extern const Command command_doctor;
extern const Command command_export;
extern const Command command_gc;
extern const Command command_import;
extern const Command command_info;
extern const Command command_inspect;
extern const Command command_list;
extern const Command command_verify;
