/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The record of refused system calls, by which none that was to be told is lost while there is no manager: a line for
 * each of the last.
 */

#include "shared/violation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/line-record.h"
#include "shared/macros.h"

static int format_line(char *line, size_t size, const void *entry) {
        const struct shim_violation *e = entry;

        return snprintf(line, size,
                        "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRId32 " %" PRId32 " %" PRIu32
                        " %.*s %.*s",
                        e->number, e->calls, e->dropped, e->at, e->arch, e->call, e->pid, e->action,
                        (int)sizeof(e->exec_id) - 1, *e->exec_id ? e->exec_id : "-", (int)sizeof(e->command) - 1,
                        e->command);
}

static int parse_line(const char *line, void *ret) {
        struct shim_violation e = { 0 };
        int at = 0;

        if (sscanf(line,
                   "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32 " %" SCNd32 " %" SCNd32 " %" SCNu32
                   " %63s%n",
                   &e.number, &e.calls, &e.dropped, &e.at, &e.arch, &e.call, &e.pid, &e.action, e.exec_id, &at) < 9 ||
            line[at] != ' ' || strlen(line + at + 1) >= sizeof(e.command))
                return -EBADMSG;
        (void)snprintf(e.command, sizeof(e.command), "%s", line + at + 1);
        if (streq(e.exec_id, "-"))
                *e.exec_id = '\0';
        *(struct shim_violation *)ret = e;
        return 0;
}

static const struct line_record record = { VIOLATION_RECORD_NAME, sizeof(struct shim_violation),
                                           VIOLATION_RECORD_MAX,  256,
                                           format_line,           parse_line };

/** violation_record_write() - put at most VIOLATION_RECORD_MAX below @dir_fd, atomically; 0 or a negative errno */
int violation_record_write(int dir_fd, const struct shim_violation *events, size_t n) {
        return line_record_write(&record, dir_fd, events, n);
}

/** violation_record_read() - read what stands below @dir_fd, oldest first; as line_record_read() */
int violation_record_read(int dir_fd, struct shim_violation events[VIOLATION_RECORD_MAX], size_t *ret) {
        return line_record_read(&record, dir_fd, events, ret);
}
