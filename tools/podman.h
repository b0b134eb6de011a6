/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running Podman with the options that the user gave for it.
 */
#pragma once

#include <glib.h>

/* --root, --runroot, --storage-driver, --storage-opt, --podman: where Podman's storage is and which
 * Podman to run. A command with `podman` set takes them. */
extern const GOptionEntry podman_options[];

/* Runs podman, the user's options first, then @arguments (NULL at the end). Its standard output
 * goes to *ret_output (NULL: dropped), its standard input is empty. On failure the error holds its
 * last line. */
gboolean podman_run(const char *const *arguments, char **ret_output, GError **error);
