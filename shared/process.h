/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes and time: pidfds, start times that outlive pid reuse, boot id, clocks. Negative errno on failure. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct process_stat {
        char state; /* of proc(5): 'R', 'S', ... 'Z': ended and not collected */
        bool exiting;
        uint64_t start_time; /* clock ticks since boot */
        uint64_t signals;    /* pending ones, 1 << (number - 1) each */
};

int process_stat(pid_t pid, struct process_stat *ret);
int process_start_time(pid_t pid, uint64_t *ret); /* clock ticks since boot, field 22 of /proc/PID/stat */
int process_open(pid_t pid,
                 uint64_t start_time); /* pidfd, verified against start_time; -ESRCH when it is another process */
int boot_id_read(char ret[37]);
uint64_t now_usec(clockid_t clock);
