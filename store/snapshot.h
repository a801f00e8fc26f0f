/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Operations on snapshots. Results are JSON as in shared/store-protocol.h; chain ids may be empty: no chain. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/repo.h"
#include "store/rootfs.h"
#include "store/stream.h"

typedef struct {
        const char *from;
        const char *to;
        gboolean list; /* paths, not a layer */
        Compression compression;
        int output_fd;
        int upper_fd; /* of a snapshot on "to"; -1: none */
} DiffOptions;

JsonNode *store_diff(Store *s, StoreJob *job, const DiffOptions *options, GError **error);

JsonNode *store_apply(Store *s, StoreJob *job, const char *digest, int layer_fd, int root_fd, GError **error);

/* *held keeps what was published from collection until ingest_end(); it is set when there is a result. */
JsonNode *store_commit(Store *s, StoreJob *job, const char *parent, RootfsForm form, int upper_fd, Ingest **held,
                       GError **error);
