/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Signal names.
 *
 * Users and image configurations write "TERM", "SIGTERM", "15" or "SIGRTMIN+3"; the parse is total, a
 * number out of range or anything after it is an error and never another signal.
 */

#include <signal.h>
#include <string.h>

#include "shared/macros.h"
#include "shared/name.h"

static int signal_parse_number(const char *s, int *ret) {
        int n = 0;

        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9' || n > 99)
                        return -EINVAL;
                n = n * 10 + (*s - '0');
        }
        *ret = n;
        return 0;
}

static int signal_parse_realtime(const char *s) {
        int base, offset = 0;

        if (strncasecmp(s, "RTMIN", 5) == 0)
                base = SIGRTMIN;
        else if (strncasecmp(s, "RTMAX", 5) == 0)
                base = SIGRTMAX;
        else
                return -EINVAL;

        s += 5;
        if (*s) {
                char sign = base == SIGRTMIN ? '+' : '-';
                if (*s != sign || signal_parse_number(s + 1, &offset) < 0)
                        return -EINVAL;
        }
        base = base == SIGRTMIN ? base + offset : base - offset;
        return base >= SIGRTMIN && base <= SIGRTMAX ? base : -EINVAL;
}

/** signal_from_name() - number of a signal given as name, with or without SIG, or as decimal number
 *
 * Return: 1 to SIGRTMAX, or -EINVAL.
 */
int signal_from_name(const char *s) {
        int n;

        if (signal_parse_number(s, &n) >= 0)
                return n >= 1 && n <= SIGRTMAX ? n : -EINVAL;
        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        for (int i = 1; i < SIGRTMIN; i++) {
                const char *name = sigabbrev_np(i);
                if (name && strcasecmp(name, s) == 0)
                        return i;
        }
        return signal_parse_realtime(s);
}
