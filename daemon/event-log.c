/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of events: files in memory, below /run/davit/events, and a durable counter.
 *
 * An event is one write() of lines NAME=VALUE and an empty line, in the form of the journal's export, before anybody is
 * told of it; so a manager that is killed has either told nobody or left what the next one needs to go on. Nothing is
 * synced: what must outlive the boot is the journal's. Two files take turns, so what is kept is bounded. The numbers go
 * on after a boot because a block of them is reserved on disk, once in a million events. Owned by event.c.
 */

#include "daemon/event-log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define COUNTER_NAME "event-sequence"
#define RESERVE (UINT64_C(1) << 20)

/** event_field() - the value of a field of one event; false where it has none of the name */
bool event_field(const char *text, size_t size, const char *name, const char **ret, size_t *ret_size) {
        size_t n = strlen(name);

        while (size > 0) {
                const char *end = memchr(text, '\n', size);
                size_t line = end ? (size_t)(end - text) : size;

                if (line > n && text[n] == '=' && memcmp(text, name, n) == 0) {
                        *ret = text + n + 1;
                        *ret_size = line - n - 1;
                        return true;
                }
                line += end ? 1 : 0;
                text += line;
                size -= line;
        }
        return false;
}

/** event_number() - a field that is a number; 0 where there is none */
uint64_t event_number(const char *text, size_t size, const char *name) {
        const char *value;
        uint64_t n = 0;
        size_t length;

        if (!event_field(text, size, name, &value, &length))
                return 0;
        for (size_t i = 0; i < length && value[i] >= '0' && value[i] <= '9'; i++)
                n = n * 10 + (uint64_t)(value[i] - '0');
        return n;
}

/* Whole events of a file; what comes after the last one was being written when somebody was killed, and goes. */
static int read_one(EventLog *log, int fd, uint64_t *ret_first, off_t *ret_size, event_log_handler_t handler,
                    void *userdata) {
        _cleanup_free_ char *data = NULL;
        const char *p, *end;
        size_t size;
        int r;

        r = fd_read_bounded(fd, 2 * EVENT_LOG_SIZE_MAX, &data, &size);
        if (r < 0)
                return r;
        p = data;
        while (size > (size_t)(p - data) && (end = memmem(p, size - (size_t)(p - data), "\n\n", 2))) {
                size_t n = (size_t)(end - p) + 1;
                uint64_t sequence = event_number(p, n, "DAVIT_SEQUENCE"), time = event_number(p, n, "DAVIT_TIME");

                if (*ret_first == 0)
                        *ret_first = sequence;
                if (log->first_time == 0)
                        log->first_time = time;
                if (sequence >= log->next)
                        log->next = sequence + 1;
                handler(p, n, userdata);
                p += n + 1;
        }
        *ret_size = p - data;
        return 0;
}

static int open_files(EventLog *log, event_log_handler_t handler, void *userdata) {
        off_t size;
        int r = 0;

        log->old_fd = openat(log->dir_fd, EVENT_LOG_OLD_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (log->old_fd < 0 && errno != ENOENT)
                return -errno;
        log->fd = openat(log->dir_fd, EVENT_LOG_NAME, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (log->fd < 0)
                return -errno;
        if (log->old_fd >= 0)
                r = read_one(log, log->old_fd, &log->old_first, &size, handler, userdata);
        if (r >= 0)
                r = read_one(log, log->fd, &log->first, &log->size, handler, userdata);
        if (r >= 0 && ftruncate(log->fd, log->size) < 0)
                r = -errno;
        return r;
}

/* Numbers up to reserved count as used, whatever happens to the machine. */
static int write_counter(EventLog *log, uint64_t reserved) {
        char text[32];
        int n = snprintf(text, sizeof(text), "%" PRIu64 "\n", reserved), r;

        r = file_replace_at(log->state_fd, COUNTER_NAME, text, (size_t)n, 0600, true);
        if (r < 0)
                return log_error_errno(r, "Cannot write the counter of events");
        log->reserved = reserved;
        return 0;
}

static void read_counter(EventLog *log) {
        _cleanup_free_ char *text = NULL;

        if (file_read_at(log->state_fd, COUNTER_NAME, 64, &text, NULL) >= 0)
                log->reserved = strtoull(text, NULL, 10);
}

/** event_log_reserve() - to be called before a number is given out; waits for the disk once in a million */
int event_log_reserve(EventLog *log) {
        return log->next < log->reserved ? 0 : write_counter(log, log->next + RESERVE);
}

/** event_log_open() - finds what the last manager has left, each event of it to handler, oldest first, and goes on */
int event_log_open(EventLog *log, int runtime_fd, int state_fd, event_log_handler_t handler, void *userdata) {
        int r;

        log->state_fd = state_fd;
        log->dir_fd = dir_open_at(runtime_fd, EVENT_LOG_DIR, 0700);
        if (log->dir_fd < 0)
                return log->dir_fd;
        read_counter(log);
        r = open_files(log, handler, userdata);
        if (r < 0)
                return r;
        if (log->next == 0) /* the first manager of this boot */
                log->next = log->reserved > 0 ? log->reserved : 1;
        if (log->first_time == 0)
                log->first_time = now_usec(CLOCK_REALTIME);
        return event_log_reserve(log);
}

/** event_log_close() - the files stay */
void event_log_close(EventLog *log) {
        log->fd = safe_close(log->fd);
        log->old_fd = safe_close(log->old_fd);
        log->dir_fd = safe_close(log->dir_fd);
}

static int rotate(EventLog *log) {
        _cleanup_close_ int fd = -1;

        if (renameat(log->dir_fd, EVENT_LOG_NAME, log->dir_fd, EVENT_LOG_OLD_NAME) < 0)
                return -errno;
        fd = openat(log->dir_fd, EVENT_LOG_NAME, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        (void)safe_close(log->old_fd);
        log->old_fd = log->fd;
        log->old_first = log->first;
        log->fd = take_fd(&fd);
        log->first = 0;
        log->size = 0;
        return 0;
}

/* A write that was cut short would hide what comes after it. */
static int append(EventLog *log, const char *text, size_t size) {
        ssize_t n = write(log->fd, text, size);

        if (n == (ssize_t)size)
                return 0;
        n = n < 0 ? -errno : -ENOSPC;
        if (ftruncate(log->fd, log->size) < 0)
                return -errno;
        return (int)n;
}

/** event_log_append() - keeps the next event: its lines and the empty one; rotated: the files have taken turns */
int event_log_append(EventLog *log, const char *text, size_t size, bool *ret_rotated) {
        int r = 0;

        *ret_rotated = false;
        if (log->size + (off_t)size > (off_t)EVENT_LOG_SIZE_MAX && log->first > 0) {
                r = rotate(log);
                *ret_rotated = r >= 0;
        }
        if (r >= 0)
                r = append(log, text, size);
        if (r >= 0) {
                log->size += (off_t)size;
                if (log->first == 0)
                        log->first = log->next;
        } else if (!log->failed)
                (void)log_error_errno(r, "Cannot keep events in " EVENT_LOG_DIR);
        log->failed = r < 0;
        log->next++;
        return r;
}

/** event_log_files() - both files to be read by somebody else, from their beginning */
int event_log_files(EventLog *log, int ret[2]) {
        static const char *const names[] = { EVENT_LOG_OLD_NAME, EVENT_LOG_NAME };
        int n = 0;

        for (size_t i = log->old_fd < 0; i < ELEMENTSOF(names); i++) {
                ret[n] = openat(log->dir_fd, names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                if (ret[n] < 0) {
                        int r = -errno;

                        if (n > 0)
                                (void)safe_close(ret[0]);
                        return r;
                }
                n++;
        }
        return n;
}
