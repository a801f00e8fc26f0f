/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lengths of time and moments as people write them: "90", "30m", "1h30m", "7d"; "24h" ago, "2025-01-31",
 * "2025-01-31T12:00:00Z". A whole string is understood or refused. A date without a zone is one of the user's own
 * clock.
 */

#include <ctype.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/text.h"

#define LONGEST_SECONDS (UINT64_C(1000) * 365 * 24 * 60 * 60)

static uint64_t unit_seconds(char unit) {
        switch (unit) {
        case 's':
                return 1;
        case 'm':
                return 60;
        case 'h':
                return 60 * 60;
        case 'd':
                return 24 * 60 * 60;
        case 'w':
                return 7 * 24 * 60 * 60;
        default:
                return 0;
        }
}

/** parse_duration() - whole numbers with units s, m, h, d and w, one after the other; a bare number is seconds. */
bool parse_duration(const char *s, uint64_t *ret_usec) {
        uint64_t seconds = 0;

        if (!*s)
                return false;
        while (*s) {
                uint64_t n = 0, unit;

                if (!isdigit((unsigned char)*s))
                        return false;
                for (; isdigit((unsigned char)*s); s++) {
                        n = n * 10 + (uint64_t)(*s - '0');
                        if (n > LONGEST_SECONDS)
                                return false;
                }
                unit = *s ? unit_seconds(*s++) : 1;
                if (unit == 0 || n > LONGEST_SECONDS / unit)
                        return false;
                seconds += n * unit;
                if (seconds > LONGEST_SECONDS)
                        return false;
        }
        *ret_usec = seconds * USEC_PER_SEC;
        return true;
}

/** parse_moment() - a length of time before now, or a date with or without a time; microseconds since the epoch. */
bool parse_moment(const char *s, uint64_t now_usec, uint64_t *ret_usec) {
        static const char *const formats[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                               "%Y-%m-%d %H:%M" };
        uint64_t span;

        if (parse_duration(s, &span)) {
                *ret_usec = span < now_usec ? now_usec - span : 0;
                return true;
        }
        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                struct tm tm = { .tm_isdst = -1 };
                const char *end = strptime(s, formats[i], &tm);
                time_t t;

                if (!end || (*end && !streq(end, "Z")))
                        continue;
                t = *end ? timegm(&tm) : mktime(&tm);
                if (t < 0)
                        return false;
                *ret_usec = (uint64_t)t * USEC_PER_SEC;
                return true;
        }
        return false;
}
