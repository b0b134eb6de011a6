/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running other programs: no shell, signals and lifetime as scratch.h wants them, errors on one
 * line.
 */
#pragma once

#include <glib.h>

/* Runs @argv (a name is looked up in PATH). @what ("podman load") leads the error. Its standard
 * output goes to *ret_output (NULL: dropped), its standard input is empty. When it fails the error
 * has the last line that it printed to standard error; when there is no such program the error says
 * @hint ("install skopeo"). */
gboolean run_program(const char *const *argv, const char *what, const char *hint, char **ret_output,
                     GError **error);
