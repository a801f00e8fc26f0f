/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records of a task directory that are lists: "version=1", then a line for each entry, oldest first. */

#include <stddef.h>

#define LINE_RECORD_SIZE_MAX 4608U

struct line_record {
        const char *name; /* of the file */
        size_t entry_size, entries_max;
        size_t line_max; /* with the line break and a NUL */
        /* as snprintf(), without the line break */
        int (*format)(char *line, size_t size, const void *entry);
        /* 0 or a negative errno */
        int (*parse)(const char *line, void *ret_entry);
};

int line_record_write(const struct line_record *record, int dir_fd, const void *entries, size_t n);
int line_record_read(const struct line_record *record, int dir_fd, void *entries, size_t *ret);
