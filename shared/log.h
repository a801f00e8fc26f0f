/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines to stderr with the "<N>" prefix that systemd-journald understands (sd-daemon(3)); plain where stderr is a
 * terminal. */

#include <syslog.h>

#include "shared/macros.h"

void log_open(const char *program, int max_level);
void log_write(int level, const char *format, ...) _printf_(2, 3);
int log_write_errno(int level, int error, const char *format, ...)
        _printf_(3, 4); /* appends strerror, returns -abs(error) */

#define log_error(...) log_write(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_error_errno(e, ...) log_write_errno(LOG_ERR, (e), __VA_ARGS__)
#define log_warning_errno(e, ...) log_write_errno(LOG_WARNING, (e), __VA_ARGS__)
