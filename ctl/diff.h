/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What changed in a snapshot: a list for people, or a layer. */

#include "ctl/job.h"

typedef struct Diff {
        Job job;
        const char *from; /* "": its parent */
        const char *tar;  /* where the layer goes; NULL: a list is wanted */
        const char *compression;
} Diff;

int diff_option(int key, const char *arg, void *userdata);
int diff_snapshot(Diff *diff, const char *path);
