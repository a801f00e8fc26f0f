/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The exit record: what the shim leaves in the task directory before it tells anyone, and the manager
 * copies into /var/lib/davit for kept containers. Text, one KEY=value a line, "version=1" first; unknown keys are kept
 * out of the way.
 */

#include <stdint.h>

#define EXIT_RECORD_NAME "exit"

struct exit_record {
        uint32_t status;
        uint32_t kind;      /* enum exit_kind */
        uint64_t exited_at; /* CLOCK_REALTIME, microseconds */
        uint64_t exited_at_boottime;
        uint64_t started_at; /* CLOCK_REALTIME, microseconds; 0: never */
        uint32_t pid;        /* as the host numbered it; 0: of a shim that does not say */
        uint64_t oom_kills; /* processes of the task the kernel killed for want of memory, up to then */
        uint64_t dropped_bytes; /* of the process's outputs, which nobody has read */
        char boot_id[37];       /* with dashes */
};

int exit_record_write(int dir_fd, const char *name, const struct exit_record *record);
int exit_record_read(int dir_fd, const char *name, struct exit_record *ret);
