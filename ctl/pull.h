/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Fetching an image from its registry: the verb pull, and what run and create do about one that is missing. */

#include "ctl/job.h"

struct ContainerOptions;

typedef struct Pull {
        Job job;
        const char *policy, *platform, *lease, *root_fs; /* NULL: the manager's default */
        const char *auth_file;                           /* NULL: where such files usually are */
        bool creds_stdin;
        Strv limits;
        /* of the last one, borrowed from the job */
        const char *name, *digest;
        uint64_t fetched;
} Pull;

#define PULL_INIT(c)                                                                                                   \
        { .job = JOB_INIT(c, _("the pull was cancelled, nothing of it is left")) }
#define _cleanup_pull_ _cleanup_(pull_clear)

int pull_image(Pull *pull, const char *image);
void pull_clear(Pull *pull);

/* pull-missing.c */
int pull_policy_check(Ctl *ctl, const char *policy);
int pull_always(struct ContainerOptions *o, char **image);
int pull_missing(struct ContainerOptions *o, Call *call, char **image, bool *ret_again);
