/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * System calls that a container's seccomp filter has refused, as the shim tells them, and the record of the last ones
 * beside the exit record.
 *
 * SHIM_VIOLATION, shim to manager: one call, and how many before it were counted only. Written to the task directory,
 * then told; told again in answer to SHIM_QUERY. Text of the record: "version=1", then the newest VIOLATION_RECORD_MAX,
 * oldest first, as "NUMBER CALLS DROPPED AT ARCH CALL PID ACTION EXEC-ID COMMAND", "-" for no exec id.
 */

#include <stddef.h>

#include "shared/shim-protocol.h"

#define VIOLATION_RECORD_NAME "seccomp"
#define VIOLATION_RECORD_MAX 16U
#define VIOLATION_COMMAND_MAX 16U /* TASK_COMM_LEN */

struct shim_violation {
        uint64_t number;                     /* of the message in this task, from 1 */
        uint64_t calls;                      /* refused in this task so far */
        uint64_t dropped;                    /* of them, since the message before and without the one told here */
        uint64_t at;                         /* CLOCK_REALTIME, microseconds */
        uint32_t arch;                       /* AUDIT_ARCH_*; 0: it is not known which call it was */
        int32_t call;                        /* its number, as the kernel gives it */
        int32_t pid;                         /* in the host's pid namespace; 0: not known */
        uint32_t action;                     /* SECCOMP_RET_*, with its data */
        char command[VIOLATION_COMMAND_MAX]; /* printable; "": not known */
        char exec_id[SHIM_EXEC_ID_MAX];      /* whose filter it was, "": the first process's */
};

int violation_record_write(int dir_fd, const struct shim_violation *events, size_t n);
int violation_record_read(int dir_fd, struct shim_violation events[VIOLATION_RECORD_MAX], size_t *ret);
