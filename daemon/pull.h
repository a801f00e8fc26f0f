/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pulls: images from registries, as jobs. One at Manager.pulls. */

#include "daemon/image-store.h"

/* Members are borrowed, the descriptor is duplicated. */
typedef struct PullOptions {
        const char *typed;   /* what the caller wrote */
        ImportOptions image; /* name in full, see image_name_qualify() */
        bool missing;        /* what is here already is good enough, the registry is not asked */
        int authorization;   /* -1: none */
} PullOptions;

int pulls_new(Manager *m, Pulls **ret);
void pulls_set_socket(Pulls *pulls, const char *path);
Pulls *pulls_free(Pulls *pulls); /* gives up what is running; the jobs are the caller's to drop */

/* ret: a job of type "pull"; its result holds Images (as), Digest (s), Fetched (t) */
int pull_begin(Manager *m, const char *ns, const PullOptions *options, Job **ret, sd_bus_error *error);

/* pull-have.c: layers that are here, none of which leaves the store before pull_have_free() */
typedef struct PullHave PullHave;
PullHave *pull_have_new(Manager *m, bool none);
PullHave *pull_have_free(PullHave *have);
JsonArray *pull_have_digests(const PullHave *have); /* for the registry: [digest] */
JsonArray *pull_have_layers(const PullHave *have);  /* for the store: [{"digest","diff_id","size"}] */

/* pull-request.c: what the registry worker is asked, and what it says */
typedef struct PullAnswer {
        char *digest;   /* of what the reference names */
        char *manifest; /* of this platform; "": of all */
        uint64_t fetched;
} PullAnswer;
void pull_answer_done(PullAnswer *a);
int pull_answer_parse(const char *name, JsonObject *result, PullAnswer *ret, sd_bus_error *error);
bool pull_answer_means(const PullAnswer *a, const ImageRecord *record);
JsonObject *pull_request(const Manager *m, const PullOptions *options, const PullHave *have);
bool pull_host_insecure(const Config *config, const char *name);
