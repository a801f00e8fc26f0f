/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* davit-oci's side of shared/maker-protocol.h, and the talk with a process in the making. */

#include <sys/types.h>

#include "oci/oci.h"
#include "shared/maker-protocol.h"
#include "shared/message.h"
#include "shared/plan.h"

typedef struct Maker {
        int sock; /* to the maker */
        pid_t pid;
} Maker;
#define MAKER_NULL                                                                                                     \
        { .sock = -1 }

/* A process that has been made, on its way to its program. */
typedef struct Made {
        pid_t pid;
        int pidfd;
        int sock; /* to the process, until it executes */
        guint64 started;
        gboolean executing; /* it has said that its program is next */
} Made;
#define MADE_NULL                                                                                                      \
        { .pidfd = -1, .sock = -1 }

void maker_clear(Maker *maker);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Maker, maker_clear)

gboolean maker_spawn(Maker *ret, GError **error);
gboolean maker_make(Maker *maker, const struct maker_request *request, const int *fds, gsize n_fds, Made *ret,
                    GError **error);

void made_clear(Made *made);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Made, made_clear)
void made_kill(Made *made);
gboolean made_tell(Made *made, guint32 message, int fd, GError **error);
int made_hear(Made *made, struct packet *packet, GError **error); /* enum setup_message; 0: it executes; -1: error */
gboolean made_wait(Made *made, int *ret_status);
