/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lists of what has happened to a task, kept beside its exit record.
 *
 * The shim renames one into the task directory before it tells anyone; a manager that comes later compares the entries'
 * numbers with the last one it has told of. It lives in /run and goes with the task. What an entry is and how a line of
 * it looks is its owner's to say; here is what surrounds the lines. Nothing is allocated to write one, for the shim may
 * be out of memory.
 */

#include "shared/line-record.h"

#include <stdio.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"

#define VERSION_LINE "version=1\n"

/** line_record_write() - put at most the record's entries_max below @dir_fd, atomically; 0 or a negative errno */
int line_record_write(const struct line_record *record, int dir_fd, const void *entries, size_t n) {
        char text[LINE_RECORD_SIZE_MAX] = VERSION_LINE;
        size_t used = strlen(VERSION_LINE);

        for (size_t i = 0; i < n && i < record->entries_max; i++) {
                int m;

                if (used + record->line_max > sizeof(text))
                        return -E2BIG;
                m = record->format(text + used, record->line_max - 1, (const char *)entries + i * record->entry_size);
                if (m < 0 || (size_t)m >= record->line_max - 1)
                        return -EINVAL;
                used += (size_t)m;
                text[used++] = '\n';
        }
        return file_replace_at(dir_fd, record->name, text, used, 0600, false);
}

/** line_record_read() - read what stands below @dir_fd into @entries, which has room for entries_max
 *
 * Return: 0, -ENOENT where nothing was written, -EPROTONOSUPPORT for a later version, -EBADMSG for a damaged record, or
 * a negative errno.
 */
int line_record_read(const struct line_record *record, int dir_fd, void *entries, size_t *ret) {
        _cleanup_free_ char *text = NULL;
        char *state = NULL;
        size_t n = 0, size;
        int r;

        r = file_read_at(dir_fd, record->name, LINE_RECORD_SIZE_MAX, &text, &size);
        if (r < 0)
                return r;
        if (strlen(text) != size || strncmp(text, "version=", 8) != 0)
                return -EBADMSG;
        if (strncmp(text, VERSION_LINE, strlen(VERSION_LINE)) != 0)
                return -EPROTONOSUPPORT;
        for (char *line = strtok_r(text + strlen(VERSION_LINE), "\n", &state); line && n < record->entries_max;
             line = strtok_r(NULL, "\n", &state)) {
                r = record->parse(line, (char *)entries + n++ * record->entry_size);
                if (r < 0)
                        return r;
        }
        *ret = n;
        return 0;
}
