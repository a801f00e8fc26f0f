/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bytes from one descriptor to another, with progress. */

#include "ctl/progress.h"
#include "ctl/sha256.h"

typedef struct Copy {
        int from, to;
        int signal_fd;        /* -1: none; readable: stop */
        uint64_t done, total; /* bytes; total 0: not known */
        uint64_t left;        /* at most so many more; UINT64_MAX: all */
        bool sum; /* whether the digest of what is copied is wanted */
        Sha256 sha256;
        Progress progress;
} Copy;

int copy_skip(Copy *copy, uint64_t bytes);
int copy_run(Copy *copy);
