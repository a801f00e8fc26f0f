/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writing a layer's tree into a directory. */

#include <glib.h>

#include "store/objects.h"
#include "store/tree.h"

/* The root's descriptor stays the caller's; the content of @layer's files is in @objects, settled. */
gboolean layer_write(StoreJob *job, Objects *objects, Tree *layer, int root_fd, GError **error);
