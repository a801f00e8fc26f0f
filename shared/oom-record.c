/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The OOM record, by which no kill for want of memory is lost while there is no manager.
 *
 * The shim renames it into the task directory before it tells anyone; a manager that comes later compares the events'
 * numbers with the last one it has told of. It lives in /run and goes with the task.
 */

#include "shared/oom-record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"

#define VERSION_LINE "version=1\n"
#define LINE_MAX_SIZE 192U
#define RECORD_MAX (OOM_RECORD_MAX * LINE_MAX_SIZE)

/** oom_record_write() - put at most OOM_RECORD_MAX events below @dir_fd, atomically; 0 or a negative errno */
int oom_record_write(int dir_fd, const struct shim_oom *events, size_t n) {
        char text[sizeof(VERSION_LINE) + RECORD_MAX] = VERSION_LINE;
        size_t used = strlen(VERSION_LINE);

        for (size_t i = 0; i < n && i < OOM_RECORD_MAX; i++) {
                const struct shim_oom *e = &events[i];
                int m;

                m = snprintf(text + used, LINE_MAX_SIZE, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %s %.*s\n", e->number,
                             e->kills, e->at, oom_culprit_name(e->culprit), (int)SHIM_EXEC_ID_MAX - 1, e->exec_id);
                if (m < 0 || (unsigned)m >= LINE_MAX_SIZE)
                        return -EINVAL;
                used += (size_t)m;
        }
        return file_replace_at(dir_fd, OOM_RECORD_NAME, text, used, 0600, false);
}

static int parse_line(const char *line, struct shim_oom *ret) {
        char word[16] = "", id[SHIM_EXEC_ID_MAX] = "";
        struct shim_oom e = { 0 };

        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %15s %63s", &e.number, &e.kills, &e.at, word, id) < 4)
                return -EBADMSG;
        e.culprit = oom_culprit_from_name(word);
        if (e.culprit == 0)
                return -EBADMSG;
        memcpy(e.exec_id, id, sizeof(id));
        *ret = e;
        return 0;
}

/** oom_record_read() - read the events below @dir_fd, oldest first
 *
 * Return: 0, -ENOENT where nothing was killed, -EPROTONOSUPPORT for a later version, -EBADMSG for a damaged record, or
 * a negative errno.
 */
int oom_record_read(int dir_fd, struct shim_oom events[OOM_RECORD_MAX], size_t *ret) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        size_t n = 0, size;
        int r;

        r = file_read_at(dir_fd, OOM_RECORD_NAME, RECORD_MAX + sizeof(VERSION_LINE), &text, &size);
        if (r < 0)
                return r;
        if (strlen(text) != size || strncmp(text, "version=", 8) != 0)
                return -EBADMSG;
        if (strncmp(text, VERSION_LINE, strlen(VERSION_LINE)) != 0)
                return -EPROTONOSUPPORT;
        for (char *line = strtok_r(text + strlen(VERSION_LINE), "\n", &state); line && n < OOM_RECORD_MAX;
             line = strtok_r(NULL, "\n", &state)) {
                r = parse_line(line, &events[n++]);
                if (r < 0)
                        return r;
        }
        *ret = n;
        return 0;
}
