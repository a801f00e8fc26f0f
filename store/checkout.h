/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain as a directory of hard links to the repository's objects. */

#include <glib.h>

#include "store/objects.h"
#include "store/tree.h"

gboolean checkout_tree(StoreJob *job, Objects *objects, Tree *chain, int dir_fd, const char *name, GError **error);
