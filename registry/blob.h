/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a registry has, verified: documents into memory, layers into the output. */

#include <glib.h>

#include "registry/layout.h"
#include "registry/registry.h"

GBytes *document_fetch_top(Registry *r, char **ret_media_type, GError **error);
GBytes *document_fetch(Registry *r, const Descriptor *d, const char *what, GError **error);
gboolean layer_fetch(Registry *r, Layout *l, const ImageLayer *layer, GError **error);
