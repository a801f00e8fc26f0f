/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writers of content: files that clients append to, until they are committed or aborted. */

#include "daemon/content.h"

typedef struct Ingest {
        Namespace *ns;
        char *ref;
        char *file;     /* below DAVIT_STATE_DIR/ingest-content */
        uint64_t total; /* bytes; 0: not said */
        char *digest;   /* "": not said */
        char *media_type;
        GHashTable *labels;
        uint64_t started;    /* CLOCK_REALTIME, microseconds */
        sd_bus_track *owner; /* the connection that writes; NULL: none since the manager began */
        bool committing;
} Ingest;

/* What a client says about it; members are borrowed, and "", 0 and NULL where it says nothing. */
typedef struct WriteOptions {
        uint64_t total;
        char *digest, *media_type, *lease;
        GHashTable *labels;
} WriteOptions;

/* Namespace.ingests; namespace_new() calls init, namespace_free() done */
void ingests_init(Namespace *ns);
void ingests_done(Namespace *ns);
int ingests_load(Namespace *ns);                   /* as images_load() */
void ingests_sweep(Manager *m, unsigned n_broken); /* once, when every namespace is loaded */

int content_write(Namespace *ns, const char *ref, const WriteOptions *options, const char *sender, int *ret_fd,
                  uint64_t *ret_offset, sd_bus_error *error);
int content_commit(Namespace *ns, const char *ref, const WriteOptions *options, Job **ret, sd_bus_error *error);
int content_abort(Namespace *ns, const char *ref, sd_bus_error *error);
int ingest_stat(const Ingest *i, uint64_t *ret_offset, uint64_t *ret_updated);
