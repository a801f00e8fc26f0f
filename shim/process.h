/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A process the shim answers for: the container's first one, or an exec. */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/shim-protocol.h"

struct shim;
struct violation_filter;

enum process_state {
        PROCESS_NONE = 0,
        PROCESS_MAKING,  /* cloned, on its way to execve */
        PROCESS_CREATED, /* waits for SHIM_START */
        PROCESS_RUNNING,
        PROCESS_ENDED,
        _PROCESS_STATE_MAX,
};

struct process {
        struct process *next;
        enum process_state state;
        bool created;   /* it has waited for SHIM_START, or does */
        bool executing; /* it has said that execve is next */
        pid_t pid;
        int pidfd;
        int sock;        /* to the process while it is being made */
        int terminal_fd; /* the pty's master */
        int kept[3];     /* our ends of its streams, or -1 */
        bool filter_kills;               /* its seccomp filter may end in SIGSYS, or nobody here knows it */
        bool filter_told;                /* and then that is told */
        struct violation_filter *filter; /* until its listener is known; NULL: nothing is told */
        uint32_t serial; /* of the request that is to be answered */
        uint64_t sent;   /* signals that somebody has asked for, 1 << (number - 1) */
        uint64_t start_time, created_at, started_at;
        uint64_t dropped, dropped_told; /* bytes of its outputs, and of those the manager knows */
        struct shim_exited exited;
        char exec_id[SHIM_EXEC_ID_MAX]; /* "": the first process */
};
#define PROCESS_NULL                                                                                                   \
        { .pidfd = -1, .sock = -1, .terminal_fd = -1, .kept = { -1, -1, -1 } }

void process_poll(struct shim *s, struct process *p);
void process_created(struct shim *s, struct process *p);
void process_forget(struct shim *s, struct process *p);
void process_ended(struct shim *s, struct process *p, const siginfo_t *info);
void process_started(struct shim *s, struct process *p);
void process_done(struct shim *s, struct process *p);
void process_note_signal(struct process *p, int signal);
bool process_was_sent(const struct shim *s, const struct process *p, int signal);
void shim_tell_state(struct shim *s, const struct process *p, uint32_t serial);
