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
} RunProgram;

/* Runs it. Its standard output goes to *ret_output (NULL: dropped), its standard input is empty.
 * When it fails the error has the last line that it printed to standard error. */
gboolean run_program(const RunProgram *program, char **ret_output, GError **error);
