/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* System calls that a container's filter refuses: answered at once, told within a rate. */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/violation.h"

struct plan;
struct process;
struct shim;

/* A filter as the plan has it, which says what is to be answered; shared by processes that have the same. */
struct violation_filter {
        size_t references, n;
        struct sock_filter program[];
};

/* Where one process's filter, and its children's, asks. */
struct violation_source {
        struct violation_source *next;
        int fd;
        struct violation_filter *filter;
        char exec_id[SHIM_EXEC_ID_MAX];
};

#define VIOLATION_ARCHES 3 /* x86-64, i386, x32 */
#define VIOLATION_CALLS 512

struct violations {
        int epoll_fd; /* of all sources, or -1 */
        struct violation_source *sources;
        uint64_t number, calls;  /* of the last message; refused so far */
        uint64_t sent, retry_at; /* the last message that a manager has been sent; CLOCK_MONOTONIC: try again */
        uint64_t waiting;        /* calls since the last message; the last of them is "last" */
        struct shim_violation last;
        uint64_t window_end, window;                           /* CLOCK_MONOTONIC, microseconds; its length */
        unsigned left, left_new;                               /* messages that the window still has room for */
        bool dropped;                                          /* the window had more */
        uint64_t seen[VIOLATION_ARCHES][VIOLATION_CALLS / 64]; /* calls that have been told */
        size_t n_events;
        struct shim_violation events[VIOLATION_RECORD_MAX]; /* the newest, oldest first */
};
#define VIOLATIONS_NULL                                                                                                \
        { .epoll_fd = -1 }

/* seccomp.c: what a filter of plan/ decides, and which of its answers are told */
uint32_t filter_run(const struct sock_filter *program, size_t n, const struct seccomp_data *data);
bool filter_tells(uint32_t action);

void violation_expect(struct shim *s, struct process *p, const struct plan *plan);
struct violation_filter *violation_filter_unref(struct violation_filter *filter);
void violation_watch(struct shim *s, struct process *p, int *fd);
void violation_noticed(struct shim *s);
void violation_flush(struct shim *s);
uint64_t violation_flush_at(const struct shim *s);
void violation_killed(struct shim *s, const struct process *p);
void violation_tell_all(struct shim *s);
