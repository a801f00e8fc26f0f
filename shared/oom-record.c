/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The OOM record, by which no kill for want of memory is lost while there is no manager: a line for each of the last.
 */

#include "shared/oom-record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/line-record.h"
#include "shared/macros.h"
#include "shared/message.h"

static int format_line(char *line, size_t size, const void *entry) {
        const struct shim_oom *e = entry;

        return snprintf(line, size, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %s %.*s", e->number, e->kills, e->at,
                        oom_culprit_name(e->culprit), (int)SHIM_EXEC_ID_MAX - 1, e->exec_id);
}

static int parse_line(const char *line, void *ret) {
        char word[16] = "", id[SHIM_EXEC_ID_MAX] = "";
        struct shim_oom e = { 0 };

        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %15s %63s", &e.number, &e.kills, &e.at, word, id) < 4)
                return -EBADMSG;
        e.culprit = oom_culprit_from_name(word);
        if (e.culprit == 0)
                return -EBADMSG;
        memcpy(e.exec_id, id, sizeof(id));
        *(struct shim_oom *)ret = e;
        return 0;
}

static const struct line_record record = { OOM_RECORD_NAME, sizeof(struct shim_oom), OOM_RECORD_MAX, 192, format_line,
                                           parse_line };

/** oom_record_write() - put at most OOM_RECORD_MAX events below @dir_fd, atomically; 0 or a negative errno */
int oom_record_write(int dir_fd, const struct shim_oom *events, size_t n) {
        return line_record_write(&record, dir_fd, events, n);
}

/** oom_record_read() - read the events below @dir_fd, oldest first; as line_record_read() */
int oom_record_read(int dir_fd, struct shim_oom events[OOM_RECORD_MAX], size_t *ret) {
        return line_record_read(&record, dir_fd, events, ret);
}
