/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Images of Podman's that could not be replaced: whoever takes all that were pulled would begin
 * anew with them each time. Kept in a small file in settings' cache, which may be deleted at any
 * time and is of one version of nixstore: the next may know how to convert them. Stands on
 * settings.
 */
#pragma once

#include <glib.h>

/* Whether the image @id has failed: for good, where it was the image that is wrong (INVALID), else
 * less than an hour ago. *ret_reason: in one line, why; the caller's. */
gboolean failures_has(const char *id, char **ret_reason);

/* Notes that @id has failed with @why. Not to be able to is no error: it will be tried again. */
void failures_add(const char *id, const GError *why);

/* It has not failed any more. */
void failures_remove(const char *id);

/* The file, if it is there and notes something; NULL otherwise. Caller frees. */
char *failures_find_file(void);
