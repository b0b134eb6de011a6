/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is left of an image in a user namespace. Stands on tree.
 */
#pragma once

#include "tree.h"

/* Takes out of @tree what nobody can make in a user namespace, and what containers/storage
 * therefore leaves out when it unpacks a layer in one (its pkg/archive): devices; xattrs but user.*
 * of files and directories, file capabilities and POSIX ACLs. FIFOs stay. */
void unprivileged_trim_tree(Tree *tree);
