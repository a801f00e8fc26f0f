/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lengths of time as people write them: "90", "30m", "1h 30min", "7d". A whole string is understood or refused, but for
 * "ago", which is a moment's.
 */

#include <ctype.h>
#include <stdio.h>

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
                { " w week weeks ", 7 * 24 * 60 * 60 }, { " M month months ", 2629800 }, /* 30.44 days */
                { " y year years ", 31557600 },
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

/** duration_read() - numbers and their units up to the end or the word "ago"; where it ended, NULL for what is none. */
const char *duration_read(const char *s, uint64_t *ret_usec) {
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
        const char *end = duration_read(s, ret_usec);

        return end && !*end;
}
