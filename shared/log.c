/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Log lines on stderr.
 *
 * Under systemd stderr is a journal stream, and the "<N>" prefix of sd-daemon(3) carries the level; on a
 * terminal the program's name stands there instead. One line is one write, so lines of several processes never mix.
 */

#include "shared/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fd.h"

static struct {
        const char *program;
        int max_level;
        bool prefix;
} log_state = { .program = "davit", .max_level = LOG_INFO };

/** log_open() - name the program (borrowed) and drop everything less urgent than @max_level (LOG_DEBUG: nothing) */
void log_open(const char *program, int max_level) {
        log_state.program = program;
        log_state.max_level = max_level;
        log_state.prefix = getenv("JOURNAL_STREAM") != NULL;
}

static void log_line(int level, const char *format, va_list ap, const char *tail) {
        _cleanup_free_ char *body = NULL, *line = NULL;
        int saved = errno, n;

        if (vasprintf(&body, format, ap) < 0)
                return;
        if (log_state.prefix)
                n = asprintf(&line, "<%d>%s%s%s\n", level, body, tail ? ": " : "", tail ? tail : "");
        else
                n = asprintf(&line, "%s: %s%s%s\n", log_state.program, body, tail ? ": " : "", tail ? tail : "");
        if (n > 0)
                (void)fd_write_all(STDERR_FILENO, line, (size_t)n);
        errno = saved;
}

void log_write(int level, const char *format, ...) {
        va_list ap;

        if (level > log_state.max_level)
                return;
        va_start(ap, format);
        log_line(level, format, ap, NULL);
        va_end(ap);
}

/** log_write_errno() - log_write() with ": <text of error>" appended
 *
 * Return: @error as a negative errno, so that it can be logged and returned in one statement.
 */
int log_write_errno(int level, int error, const char *format, ...) {
        va_list ap;

        error = error < 0 ? error : -error;
        if (level <= log_state.max_level) {
                va_start(ap, format);
                log_line(level, format, ap, strerror(-error));
                va_end(ap);
        }
        return error;
}
