/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain of the store as a tree in memory. */

#include <glib.h>

#include "store/unpack.h"

/* Fills the empty @chain, and @layers (ImageLayer, or NULL) with its layers from the lowest. The tree shares the inodes
 * of @u's layers. The chain is pinned for @ingest. */
gboolean chain_load(Unpack *u, Store *store, Ingest *ingest, const guint8 chain_id[DIGEST_SIZE], Tree *chain,
                    GPtrArray *layers, GError **error);
