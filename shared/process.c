/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Processes and time.
 *
 * A pid alone means nothing once its process may have ended. What lasts is the pair of pid and start time
 * within one boot; what is held is a pidfd.
 */

#include "shared/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"

#define STAT_MAX 4096U

/* proc(5), /proc/PID/stat: fields by number; PF_EXITING of the kernel's sched.h */
#define STAT_STATE 3
#define STAT_FLAGS 9
#define STAT_START_TIME 22
#define STAT_SIGNAL 31
#define FLAG_EXITING UINT64_C(0x4)

/** process_stat() - what the kernel says of a process, its main thread where that makes a difference
 *
 * Source: proc(5), /proc/PID/stat. The command name in field 2 may hold spaces and parentheses, so counting starts
 * behind the last one.
 *
 * Return: 0, -ESRCH when there is no such process, or a negative errno.
 */
int process_stat(pid_t pid, struct process_stat *ret) {
        uint64_t fields[STAT_SIGNAL + 1] = {};
        _cleanup_free_ char *text = NULL;
        char path[32], *p;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        r = file_read_at(AT_FDCWD, path, STAT_MAX, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;

        p = strrchr(text, ')');
        for (int i = STAT_STATE; i <= STAT_SIGNAL; i++) {
                p = p ? strchr(p, ' ') : NULL;
                if (!p)
                        return -EBADMSG;
                p++;
                fields[i] = i == STAT_STATE ? (uint64_t)*p : strtoull(p, NULL, 10);
        }
        *ret = (struct process_stat){
                .state = (char)fields[STAT_STATE],
                .exiting = fields[STAT_FLAGS] & FLAG_EXITING,
                .start_time = fields[STAT_START_TIME],
                .signals = fields[STAT_SIGNAL],
        };
        return 0;
}

/** process_start_time() - when a process was started, in clock ticks since boot
 *
 * Return: 0, -ESRCH when there is no such process, or a negative errno.
 */
int process_start_time(pid_t pid, uint64_t *ret) {
        struct process_stat stat;
        int r;

        r = process_stat(pid, &stat);
        if (r < 0)
                return r;
        *ret = stat.start_time;
        return 0;
}

/** process_open() - a pidfd of the very process that had @pid and @start_time
 *
 * Return: a descriptor the caller owns, -ESRCH when that process has gone, or a negative errno.
 */
int process_open(pid_t pid, uint64_t start_time) {
        _cleanup_close_ int fd = -1;
        uint64_t now;
        int r;

        fd = sys_pidfd_open(pid, 0);
        if (fd < 0)
                return -errno;
        /* The pidfd pins the process first; then its start time cannot belong to a successor. */
        r = process_start_time(pid, &now);
        if (r < 0)
                return r;
        if (now != start_time)
                return -ESRCH;
        return take_fd(&fd);
}

/** boot_id_read() - the kernel's id of this boot, with dashes */
int boot_id_read(char ret[37]) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = file_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &size);
        if (r < 0)
                return r;
        if (size < 36)
                return -EBADMSG;
        memcpy(ret, text, 36);
        ret[36] = '\0';
        return 0;
}

/** now_usec() - a clock's time in microseconds */
uint64_t now_usec(clockid_t clock) {
        struct timespec ts;

        (void)clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}
