/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How far a program has come that says nothing itself, by what it has read.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Bytes that the programs have read which the thread @tid of this process has started, as long as
 * they run. 0 where the kernel does not tell. */
guint64 child_reads_of_thread(pid_t tid);
