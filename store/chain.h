/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Layers on top of each other. */

#include <glib.h>

#include "store/tree.h"

gboolean chain_apply(Tree *chain, Tree *layer, GError **error);
void chain_id_next(guint8 chain[DIGEST_SIZE], gboolean first, const guint8 diff_id[DIGEST_SIZE]);
