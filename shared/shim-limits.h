/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The messages of shim-protocol.h that are about limits.
 *
 * SHIM_UNIFIED, manager to shim: a sealed memfd of names and values, a NUL after each, which are files of payload/. All
 * are written or none. Answered by SHIM_REPLY.
 * SHIM_OOM, shim to manager: the kernel has killed for want of memory. Written to the task directory, then told, before
 * the victim's own end; told again in answer to SHIM_QUERY.
 */

#include "shared/shim-protocol.h"

struct shim_unified {
        uint32_t undo; /* 1: no fd; what the last one has written is taken back */
        uint32_t pad;
};

/* Whom the kernel's OOM killer has chosen. */
enum oom_culprit {
        OOM_CULPRIT_INIT = 1, /* the container's first process */
        OOM_CULPRIT_EXEC,     /* the process of an exec */
        OOM_CULPRIT_CHILD,    /* one that either of them has started */
        _OOM_CULPRIT_MAX,
};

struct shim_oom {
        uint64_t number; /* of the event in this task, from 1 */
        uint64_t kills;  /* processes killed in this task so far */
        uint64_t at;     /* CLOCK_REALTIME, microseconds */
        uint32_t culprit;
        uint32_t pad;
        char exec_id[SHIM_EXEC_ID_MAX]; /* of OOM_CULPRIT_EXEC */
};
