/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The time a program of ours runs: signals, window size, streams, its end. */

#include "ctl/stdio.h"

typedef struct Session {
        Ctl *ctl;
        const char *path; /* the Process object; borrowed */
        const char *id;   /* of the container whose own program it is, or NULL; borrowed */
        const char *exec; /* of the container it is executed in, or NULL; borrowed */
        int signal_fd;
        int exit_fd; /* owned */
        bool terminal;
        bool interactive;
        bool kept_streams;    /* the container's own, of which others keep ends */
        bool leave_on_signal; /* signals end us and are not passed on */
        bool leave_on_second; /* a second signal within a second ends us */
        int pending_signal;   /* came before there was a process */
        int left_by;          /* signal */
        uint64_t last_signal; /* when, CLOCK_MONOTONIC in microseconds */
        Stdio stdio;
} Session;

#define SESSION_INIT(c)                                                                                                \
        { .ctl = (c), .signal_fd = -1, .exit_fd = -1, .stdio = STDIO_INIT }
#define _cleanup_session_ _cleanup_(session_clear)

int session_open(Session *s);
int session_call_wait(Session *s, Call *call);
int session_terminal(Session *s, const char *path);
int session_run(Session *s);
void session_clear(Session *s);
