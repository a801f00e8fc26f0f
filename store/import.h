/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Operations on images and chains. Results are JSON as in shared/store-protocol.h. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/job.h"
#include "store/rootfs.h"

typedef struct ImportOptions ImportOptions;

struct ImportOptions {
        const char *name;     /* NULL: as the archive says */
        const char *format;   /* auto, oci, docker, rootfs */
        const char *platform; /* NULL: linux and this machine's */
        guint64 size;         /* of a pipe's data, 0: not known */
        GHashTable *have;     /* blob's digest -> UnpackHave, which the archive may leave out; or NULL */
        gboolean ordered;     /* an OCI layout's documents come before the layers that they name */
        RootfsForm rootfs;
        int fd;
};

/* *held keeps what was published from collection until ingest_end(); it is set when there is a result. */
JsonNode *store_import(Store *s, StoreJob *job, const ImportOptions *options, Ingest **held, GError **error);
JsonNode *store_rootfs(Store *s, StoreJob *job, const char *chain_id, RootfsForm form, Ingest **held, GError **error);
