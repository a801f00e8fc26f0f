/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The events of this boot in two files below /run/davit/events, which outlive the manager, and the counter. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EVENT_LOG_DIR "events"
#define EVENT_LOG_NAME "log"
#define EVENT_LOG_OLD_NAME "log.old"
#define EVENT_LOG_SIZE_MAX (4U * 1024U * 1024U) /* of each */

typedef struct EventLog {
        int state_fd, dir_fd;      /* state_fd: borrowed */
        int fd, old_fd;            /* -1: there is none */
        off_t size;                /* of fd */
        uint64_t first, old_first; /* sequence of the first event in each; 0: it has none */
        uint64_t first_time;       /* of the oldest that is left, or when the log was begun */
        uint64_t next, reserved;   /* sequence of the next event; up to where they durably count as used */
        bool failed;               /* it has been said that events cannot be kept */
} EventLog;

#define EVENT_LOG_NULL                                                                                                 \
        { .state_fd = -1, .dir_fd = -1, .fd = -1, .old_fd = -1 }

/* text: lines NAME=VALUE, size bytes without the empty line that ends them; not terminated */
typedef void (*event_log_handler_t)(const char *text, size_t size, void *userdata);

int event_log_open(EventLog *log, int runtime_fd, int state_fd, event_log_handler_t handler, void *userdata);
void event_log_close(EventLog *log);
int event_log_reserve(EventLog *log);
int event_log_append(EventLog *log, const char *text, size_t size, bool *ret_rotated);
int event_log_files(EventLog *log, int ret[2]); /* new descriptors, oldest first; how many */
bool event_field(const char *text, size_t size, const char *name, const char **ret, size_t *ret_size);
uint64_t event_number(const char *text, size_t size, const char *name);
