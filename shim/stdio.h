/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The three standard streams and the LISTEN_FDS of a process, from request to descriptor 0. */

#include <stdbool.h>
#include <stddef.h>

#include "shared/message.h"
#include "shared/shim-protocol.h"
#include "shim/fault.h"

#define STDIO_LISTEN_MAX 32U

struct stdio {
        int fds[3];      /* -1: null; with a terminal unused */
        int kept[3];     /* the shim's ends, or -1 */
        uint64_t drop_after[3]; /* of outputs that are dropped, microseconds; else 0 */
        size_t n_listen; /* passed on from fd 3 */
        size_t n_named;  /* of which LISTEN_FDS tells */
        int listen[STDIO_LISTEN_MAX];
        bool terminal;
};
#define STDIO_NULL                                                                                                     \
        {                                                                                                              \
                .fds = { -1, -1, -1 }, .kept = { -1, -1, -1 }                                                          \
        }

/* Where the descriptors and paths of a request have got to. */
struct stdio_source {
        struct packet *packet;
        size_t next; /* descriptor */
        const char *text;
        size_t text_size;
        const char *identifier, *unit; /* of a journal stream */
        int *sockets;                  /* for stdout and stderr, taken where not -1; NULL: to be made */
};

int stdio_take(struct stdio *io, const struct shim_stdio *request, struct stdio_source *source, struct fault *fault);
void stdio_keep(struct stdio *io, int kept[3]);
void stdio_done(struct stdio *io);
