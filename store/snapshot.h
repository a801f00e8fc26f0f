/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Operations on snapshots. Results are JSON as in shared/store-protocol.h; chain ids may be empty: no chain. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/repo.h"
#include "store/rootfs.h"
#include "store/stream.h"

/* *held keeps what was published from collection until ingest_end(); it is set when there is a result. */
JsonNode *store_commit(Store *s, StoreJob *job, const char *parent, RootfsForm form, int upper_fd, Ingest **held,
                       GError **error);
