/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What davit-oci and its maker say to each other: one request, one answer, both a packet of message.h.
 *
 * The maker is davit-oci once more, run with --maker from a clone of its file that nobody can write to. It clones the
 * process that is asked for as a sibling of itself, a child of the first davit-oci's, and ends. From then on that one
 * talks with the new process, by enum setup_message, until it executes its program.
 */

#include <stdint.h>

#define MAKER_OPTION "--maker"
#define MAKER_SOCKET 3 /* the maker's descriptor */
#define MAKER_TEXT_MAX 512U

enum maker_request_flag {
        MAKER_CGROUP = 1U << 0, /* a descriptor of the group to begin in */
        MAKER_START = 1U << 1,  /* a listening socket that the process waits at for its start */
        MAKER_INIT = 1U << 2,   /* the pidfd of the container's first process; the plan is one of an exec */
};

/* fds: the plan, those of the flags in their order, then n_preserved that the process gets from 3 on. The standard
 * streams are the maker's own. */
struct maker_request {
        uint32_t flags;
        uint32_t n_preserved;
        uint32_t n_named; /* of which LISTEN_FDS tells */
        int32_t init_pid; /* MAKER_INIT */
        uint64_t join;    /* MAKER_INIT: CLONE_NEW* of the container */
};

/* fds, on success: the process's pidfd, and a socket to it */
struct maker_answer {
        int32_t error; /* 0 or a negative errno; then the text says why */
        uint32_t step; /* enum shim_step */
        int32_t pid;
        uint32_t pad;
        uint64_t start_time;
        char text[MAKER_TEXT_MAX];
};
