/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Blobs of the store: manifests, configurations, whatever the content service was given. */

#include <glib.h>

#include "store/objects.h"
#include "store/repo.h"

/* A blob's descriptor and size. *ret_fd -1 without error: it is not there. */
gboolean content_open(Store *s, const guint8 digest[DIGEST_SIZE], int *ret_fd, guint64 *ret_size, GError **error);
gboolean content_has(Store *s, const guint8 digest[DIGEST_SIZE], gboolean *ret, GError **error);
GBytes *content_load(Store *s, const guint8 digest[DIGEST_SIZE], gsize max, GError **error);
gboolean content_publish(Ingest *ingest, Objects *objects, GBytes *const *documents, guint n, GError **error);
int content_open_object(void *store, const guint8 checksum[DIGEST_SIZE]); /* a SplitOpen */
