/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain's metadata as an EROFS image, whose files lead to the repository's objects. */

#include <glib.h>

#include "store/job.h"
#include "store/tree.h"

/* Takes the image's next bytes. */
typedef gboolean (*erofs_sink_t)(gpointer userdata, const void *data, gsize size, GError **error);

gboolean erofs_write(StoreJob *job, Tree *chain, const guint8 chain_id[DIGEST_SIZE], erofs_sink_t sink,
                     gpointer userdata, GError **error);
