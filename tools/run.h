/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running other programs: no shell, signals and lifetime as scratch.h wants them, errors on one
 * line.
 */
#pragma once

#include <glib.h>

typedef struct {
  const char *const *argv; /* NULL at the end; the program's name is looked up in PATH */
  const char *what;        /* leads the error: "podman load" */
  const char *hint;        /* what to do when there is no such program: "install podman" */
  const char *tmpdir;      /* its TMPDIR; NULL: ours */
  const char *telling; /* how the line of its complaints begins that tells what is wrong; NULL, or
                          where there is none: the last one */
  int *ret_status;     /* NULL, or: what it exited with goes here; -1 where it did not exit */
} RunProgram;

/* Runs it. Its standard output goes to *ret_output (NULL: dropped), its standard input is empty.
 * When it fails the error has one line of what it printed to standard error. */
gboolean run_program(const RunProgram *program, char **ret_output, GError **error);
