/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A task that comes from a checkpoint: criu makes its processes in the place of the shim. */

#include "shared/message.h"
#include "shim/fault.h"
#include "shim/setup.h"

struct shim;

/* Descriptors that criu finds. */
enum {
        RESTORE_SOCK = 10,
        RESTORE_STREAMS = 11, /* three of them */
        RESTORE_NETWORK = 14,
        RESTORE_FDS_END,
};

int restore_take(struct shim *s, struct packet *p, struct fault *fault);
int restore_prepare(struct shim *s, struct setup *su, struct fault *fault);
void restore_message(struct shim *s);
void restore_undo(struct shim *s);
