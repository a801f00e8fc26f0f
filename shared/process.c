/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Processes and time.
 *
 * A pid alone means nothing once its process may have ended. What lasts is the pair of pid and start time
 * within one boot; what is held is a pidfd.
 */

#include "shared/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"

/** process_start_time() - when a process was started, in clock ticks since boot
 *
 * Source: proc(5), /proc/PID/stat field 22. The command name in field 2 may hold spaces and parentheses, so
 * counting starts behind the last one.
 *
 * Return: 0, -ESRCH when there is no such process, or a negative errno.
 */
int process_start_time(pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        char path[32], *p;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        r = file_read_at(AT_FDCWD, path, 4096, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;

        p = strrchr(text, ')');
        for (int field = 2; p && field < 22; field++) {
                p = strchr(p, ' ');
                if (p)
                        p++;
        }
        if (!p || sscanf(p, "%" SCNu64, ret) != 1)
                return -EBADMSG;
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
