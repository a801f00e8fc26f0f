/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The operation: what is asked for, and carrying it out. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "registry/credentials.h"
#include "registry/registry.h"
#include "store/limits.h"

typedef struct Pull Pull;

struct Pull {
        Reference reference;
        Credentials credentials;
        char *platform;
        gboolean digest_only;
        gboolean insecure;
        gboolean has_credentials; /* the request came with some, for whichever host */
        GHashTable *have;         /* digests of layers' blobs that are not wanted */
        GPtrArray *token_hosts;   /* NULL at its end */
        StoreLimits limits;
        HttpTimes times;
        guint retries;
};

gboolean pull_read(Pull *p, const char *text, gsize size, GError **error);
void pull_clear(Pull *p);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pull, pull_clear)

/* The result, or NULL with error; @credentials_fd is -1 where there are none. */
JsonNode *pull_run(Pull *p, Operation *o, int credentials_fd, GError **error);

/* server.c */
int server_run(int sock);
