/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A layer's tree as a tar stream. */

#include <glib.h>

#include "store/stream.h"
#include "store/tree.h"

/* The content of a regular file that is not empty. */
typedef Stream *(*LayerOpen)(void *userdata, const Node *n, GError **error);

/* Entries in the order of their names' bytes; what is not free when the stream goes: @layer, @userdata. */
Stream *layer_stream_new(Tree *layer, LayerOpen open, void *userdata);
