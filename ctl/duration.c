/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lengths of time and moments as people write them: "90", "30m", "1h 30min", "7d"; "24h" ago, "2025-01-31",
 * "2025-01-31T12:00:00Z". A whole string is understood or refused. A date without a zone is one of the user's own
 * clock.
 */

#include <ctype.h>
#include <stdio.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/text.h"

#define LONGEST_SECONDS (UINT64_C(1000) * 365 * 24 * 60 * 60)

/* The units of systemd.time(7) that are whole seconds, in its words. */
static uint64_t unit_seconds(const char *unit, size_t length) {
        static const struct {
                const char *words;
                uint64_t seconds;
        } units[] = {
                { " s sec secs second seconds ", 1 },   { " m min mins minute minutes ", 60 },
                { " h hr hrs hour hours ", 60 * 60 },   { " d day days ", 24 * 60 * 60 },
                { " w week weeks ", 7 * 24 * 60 * 60 },
        };
        char word[16];

        if (length == 0)
                return 1;
        if (length + 3 > sizeof(word))
                return 0;
        (void)snprintf(word, sizeof(word), " %.*s ", (int)length, unit);
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strstr(units[i].words, word))
                        return units[i].seconds;
        return 0;
}

/* Reads numbers and their units up to the end or the word "ago"; where it ended, NULL for what is none. */
static const char *read_duration(const char *s, uint64_t *ret_usec) {
        uint64_t seconds = 0;
        bool some = false;

        while (*s && !streq(s, "ago")) {
                uint64_t n = 0, unit;
                size_t length = 0;

                if (!isdigit((unsigned char)*s))
                        return NULL;
                for (; isdigit((unsigned char)*s); s++) {
                        n = n * 10 + (uint64_t)(*s - '0');
                        if (n > LONGEST_SECONDS)
                                return NULL;
                }
                if (*s == ' ' && isalpha((unsigned char)s[1]) && !streq(s + 1, "ago"))
                        s++;
                while (isalpha((unsigned char)s[length]))
                        length++;
                unit = unit_seconds(s, length);
                if (unit == 0 || n > LONGEST_SECONDS / unit)
                        return NULL;
                s += length;
                if (*s == ' ' && s[1])
                        s++;
                seconds += n * unit;
                if (seconds > LONGEST_SECONDS)
                        return NULL;
                some = true;
        }
        *ret_usec = seconds * USEC_PER_SEC;
        return some ? s : NULL;
}

/** parse_duration() - whole numbers with units, s, m, h, d and w or systemd.time(7)'s words for them, one after the
 * other; a bare number is seconds. */
bool parse_duration(const char *s, uint64_t *ret_usec) {
        const char *end = read_duration(s, ret_usec);

        return end && !*end;
}

/** parse_moment() - a length of time before now ("2h", "2h ago", "-2h"), "now", or a date with or without a time;
 * microseconds since the epoch. */
bool parse_moment(const char *s, uint64_t now_usec, uint64_t *ret_usec) {
        static const char *const formats[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                               "%Y-%m-%d %H:%M" };
        uint64_t span = 0;

        if (streq(s, "now") || read_duration(*s == '-' ? s + 1 : s, &span)) {
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
