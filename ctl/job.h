/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A job of the manager from the call that begins it to its result. */

#include <signal.h>

#include "ctl/bus.h"
#include "ctl/progress.h"

typedef struct Job {
        Ctl *ctl;
        const char *file;      /* stands before an error, for there may be many; NULL: none */
        const char *cancelled; /* what to say when ctrl-c has ended it */
        bool quiet;            /* no progress */
        bool own_summary;      /* the verb says what was done */
        bool one_line;         /* the result as JSON, for others may follow */
        int signal_fd;
        sigset_t before; /* what was blocked before signal_fd was */
        bool asked;      /* to end */
        Progress progress;
        Call start, wait, cancel;
} Job;

#define JOB_INIT(c, said)                                                                                              \
        { .ctl = (c), .cancelled = (said), .signal_fd = -1 }
#define _cleanup_job_ _cleanup_(job_clear)

int job_new(Job *job, const char *path, const char *interface, const char *member, Message **ret);
int job_run(Job *job, Message *m);
Message *job_result(Job *job);
int job_print(Job *job);

/* A member of a result that is an array of structures, and the names of theirs, up to NULL. */
typedef struct Rows {
        const char *key;
        const char *const *names;
} Rows;

int job_print_rows(Job *job, const Rows *rows, size_t n);
void job_clear(Job *job);

/* One member of a result: a basic type goes to ret, for any other read() is called with the value before it. */
typedef struct Member {
        const char *key, *type;
        void *ret;
        int (*read)(Message *m, void *userdata);
} Member;

int result_read(Ctl *ctl, Message *m, const Member *members, size_t n, void *userdata);

/* limits.c */
int limits_check(Ctl *ctl, const Strv *limits);
int limits_append(Message *m, const Strv *limits);
