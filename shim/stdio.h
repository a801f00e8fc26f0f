/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The three standard streams and the LISTEN_FDS of a process, from request to descriptor 0. */

#include <stdbool.h>
#include <stddef.h>

#include "shared/message.h"
#include "shared/shim-protocol.h"

#define STDIO_LISTEN_MAX 32U

struct stdio {
        int fds[3]; /* -1: null; with a terminal unused */
        size_t n_listen;
        int listen[STDIO_LISTEN_MAX];
        bool terminal;
};
#define STDIO_NULL                                                                                                     \
        {                                                                                                              \
                .fds = { -1, -1, -1 }                                                                                  \
        }

int stdio_take(struct stdio *io, const struct shim_stdio *request, struct packet *p, size_t first,
               const char *identifier, const char *unit);
void stdio_done(struct stdio *io);
