/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What changes one tree into another, as a layer and as a list. */

#include <glib.h>

#include "store/tree.h"

/* The layer's tree; it shares @to's inodes, so that @to (and what it shares with others) has to outlive it. @list,
 * where given, gets a record "A /path", "C /path" or "D /path" with its NUL for each thing added, changed, deleted. */
Tree *tree_diff(Tree *from, Tree *to, GByteArray *list, GError **error);

gboolean inode_same_attributes(const Inode *a, const Inode *b); /* all but the content of regular files */
