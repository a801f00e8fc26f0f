/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Outputs whose oldest part goes where nobody reads it. */

#include <stdbool.h>
#include <stdint.h>

#include "shim/fault.h"

struct process;
struct shim;
struct stdio;

struct drop; /* one output of one process */

struct drops {
        int epoll_fd; /* of all of them, or -1 */
        struct drop *outputs;
        uint64_t tell_at, told_at; /* CLOCK_MONOTONIC, microseconds; 0: there is nothing to tell */
};
#define DROPS_NULL                                                                                                     \
        { .epoll_fd = -1 }

uint64_t drop_pace(uint64_t before, uint64_t after, bool still);
int drop_begin(struct shim *s, struct process *p, const struct stdio *io, struct fault *fault);
void drop_end(struct shim *s, const struct process *p, uint32_t mask);
void drop_noticed(struct shim *s);
uint64_t drop_deadline(const struct shim *s);
void drop_look(struct shim *s);
void drop_tell(struct shim *s, struct process *p, bool again);
