/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which modes work on this host, for info and doctor.
 */
#pragma once

#include <jansson.h>

#include <glib.h>

/* Tries all modes with backend_probe(), an upper included; for who is not root in a user namespace
 * like Podman's. An array of {mode, available, automatic, way, reason} in the order of
 * backend_list(); way and reason are null where there is none. The caller's. */
json_t *modes_probe(GError **error);

/* What nixstore-mount would use for the setting @mode, of the array @modes (borrowed): NULL where
 * that does not work. */
json_t *modes_choose(json_t *modes, const char *mode);
