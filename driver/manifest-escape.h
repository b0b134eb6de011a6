/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The escapes of mtree(5) in ownership.mtree: a byte is itself or a backslash with three octal
 * digits. Private to the manifest. Stands on GLib alone.
 */
#pragma once

#include <glib.h>

/* Appends the @size bytes of @text: printable ASCII stands for itself, but for what a manifest or a
 * shell-like pattern would take for its own ('\\', '#', '=', '*', '?', '[', ']') and the space. */
void manifest_append_escaped(GString *out, const char *text, gsize size);

/* Decodes @size bytes of @text into @out, which has room for as many. Returns the decoded length,
 * or -1 for a malformed escape or a NUL. */
gssize manifest_unescape(const char *text, gsize size, char *out);
