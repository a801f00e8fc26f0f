/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The record of refused system calls, by which none that was to be told is lost while there is no manager.
 *
 * The shim renames it into the task directory before it tells anyone; a manager that comes later compares the numbers
 * with the last one it has told of. It lives in /run and goes with the task.
 */

#include "shared/violation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"

#define VERSION_LINE "version=1\n"
#define LINE_MAX_SIZE 256U
#define RECORD_MAX (VIOLATION_RECORD_MAX * LINE_MAX_SIZE)

/** violation_record_write() - put at most VIOLATION_RECORD_MAX below @dir_fd, atomically; 0 or a negative errno */
int violation_record_write(int dir_fd, const struct shim_violation *events, size_t n) {
        char text[sizeof(VERSION_LINE) + RECORD_MAX] = VERSION_LINE;
        size_t used = strlen(VERSION_LINE);

        for (size_t i = 0; i < n && i < VIOLATION_RECORD_MAX; i++) {
                const struct shim_violation *e = &events[i];
                int m;

                m = snprintf(text + used, LINE_MAX_SIZE,
                             "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRId32 " %" PRId32
                             " %" PRIu32 " %.*s %.*s\n",
                             e->number, e->calls, e->dropped, e->at, e->arch, e->call, e->pid, e->action,
                             (int)sizeof(e->exec_id) - 1, *e->exec_id ? e->exec_id : "-", (int)sizeof(e->command) - 1,
                             e->command);
                if (m < 0 || (unsigned)m >= LINE_MAX_SIZE)
                        return -EINVAL;
                used += (size_t)m;
        }
        return file_replace_at(dir_fd, VIOLATION_RECORD_NAME, text, used, 0600, false);
}

static int parse_line(const char *line, struct shim_violation *ret) {
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
        *ret = e;
        return 0;
}

/** violation_record_read() - read what stands below @dir_fd, oldest first
 *
 * Return: 0, -ENOENT where nothing was refused, -EPROTONOSUPPORT for a later version, -EBADMSG for a damaged record, or
 * a negative errno.
 */
int violation_record_read(int dir_fd, struct shim_violation events[VIOLATION_RECORD_MAX], size_t *ret) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        size_t n = 0, size;
        int r;

        r = file_read_at(dir_fd, VIOLATION_RECORD_NAME, RECORD_MAX + sizeof(VERSION_LINE), &text, &size);
        if (r < 0)
                return r;
        if (strlen(text) != size || strncmp(text, "version=", 8) != 0)
                return -EBADMSG;
        if (strncmp(text, VERSION_LINE, strlen(VERSION_LINE)) != 0)
                return -EPROTONOSUPPORT;
        for (char *line = strtok_r(text + strlen(VERSION_LINE), "\n", &state); line && n < VIOLATION_RECORD_MAX;
             line = strtok_r(NULL, "\n", &state)) {
                r = parse_line(line, &events[n++]);
                if (r < 0)
                        return r;
        }
        *ret = n;
        return 0;
}
