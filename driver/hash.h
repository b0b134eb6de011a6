/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hashes for tables of what a stranger has named: whoever does not know the process's key cannot
 * make names that collide, as with g_str_hash() ("Ez" and "FY"). They differ from run to run: no
 * order may depend on them. Stands on GLib and the kernel.
 */
#pragma once

#include <glib.h>

guint hash_bytes(gconstpointer data, gsize size);

/* A GHashFunc, to go with g_str_equal(). */
guint hash_string(gconstpointer text);
