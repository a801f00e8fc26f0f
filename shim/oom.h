/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Kills for want of memory in a task's scope: noticed as the kernel counts them, each put down to one culprit. */

#include <stdbool.h>
#include <stdint.h>

#include "shared/oom-record.h"

struct shim;
struct process;

struct oom {
        int fd;                 /* memory.events, or an eventfd of version 1 */
        int counter_fd;         /* version 1: memory.oom_control */
        int usage_fd, limit_fd; /* of the scope's memory; or -1 */
        bool version1;
        uint64_t kills;      /* what the kernel has counted */
        uint64_t pending;    /* of these, not yet put down to anybody */
        uint64_t look_again; /* CLOCK_MONOTONIC, microseconds: when the victim may have gone; 0: no need */
        unsigned looks;      /* that are left */
        size_t n_events;     /* in the array */
        struct shim_oom events[OOM_RECORD_MAX]; /* the newest, oldest first */
};
#define OOM_NULL                                                                                                       \
        { .fd = -1, .counter_fd = -1, .usage_fd = -1, .limit_fd = -1 }

void oom_watch(struct shim *s);
int oom_poll_fd(const struct shim *s);
short oom_poll_events(const struct shim *s);
void oom_noticed(struct shim *s);
bool oom_ended(struct shim *s, const struct process *p, bool by_sigkill);
void oom_settle(struct shim *s);
void oom_tell_all(struct shim *s);
void oom_done(struct oom *o);
