/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Moments as people write them, the same for every command: "2h" and "2h ago", "-2h", "+10s", "now", "today",
 * "yesterday 18:00", "10:30", "2025-01-31", "2025-01-31 12:00:00", RFC 3339, and "@" with seconds of the epoch.
 * A whole string is understood or refused. A date without a zone is one of the user's own clock; a zone without a date
 * means the day that it is there.
 */

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/text.h"

#define ZONE_MAX_HOURS 23

/* Digits after a dot, to microseconds; what follows them. */
static const char *read_fraction(const char *s, uint64_t *ret_usec) {
        uint64_t unit = USEC_PER_SEC;

        *ret_usec = 0;
        if (*s != '.' || !isdigit((unsigned char)s[1]))
                return s;
        for (s++; isdigit((unsigned char)*s); s++) {
                unit /= 10;
                *ret_usec += (uint64_t)(*s - '0') * unit;
        }
        return s;
}

/* "@1700000000.5" */
static bool read_epoch(const char *s, uint64_t *ret_usec) {
        uint64_t seconds = 0, usec;

        if (!isdigit((unsigned char)*s))
                return false;
        for (; isdigit((unsigned char)*s); s++) {
                seconds = seconds * 10 + (uint64_t)(*s - '0');
                if (seconds > UINT32_MAX * UINT64_C(64))
                        return false;
        }
        s = read_fraction(s, &usec);
        *ret_usec = seconds * USEC_PER_SEC + usec;
        return !*s;
}

static bool two_digits(const char *s, int *ret) {
        if (!isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[1]))
                return false;
        *ret = (s[0] - '0') * 10 + s[1] - '0';
        return true;
}

/* "Z", " UTC", "+02:00", "+0200", "+02": the seconds it is ahead of UTC. */
static bool read_zone(const char *s, long *ret) {
        int hours, minutes = 0;

        *ret = 0;
        if (streq(s, "Z") || streq(s, "z") || streq(s, "UTC") || streq(s, " UTC"))
                return true;
        if ((*s != '+' && *s != '-') || !two_digits(s + 1, &hours) || hours > ZONE_MAX_HOURS)
                return false;
        if (s[3]) {
                const char *rest = s[3] == ':' ? s + 4 : s + 3;

                if (!two_digits(rest, &minutes) || rest[2] || minutes > 59)
                        return false;
        }
        *ret = (hours * 60L + minutes) * 60L * (*s == '-' ? -1 : 1);
        return true;
}

/* A time of day, to its end; false: there is none. */
static bool read_time(const char **s, struct tm *tm, uint64_t *ret_usec) {
        const char *end = isdigit((unsigned char)**s) ? strptime(*s, "%H:%M", tm) : NULL;

        if (!end)
                return false;
        if (*end == ':') {
                end = isdigit((unsigned char)end[1]) ? strptime(end, ":%S", tm) : NULL;
                if (!end)
                        return false;
                end = read_fraction(end, ret_usec);
        }
        *s = end;
        return true;
}

/* Sets the day, which begins at midnight, and returns what follows it; s itself where no day stands there. A day that
 * is told from today is so many away, and nothing is set. */
static const char *read_day(const char *s, struct tm *tm, bool *ret_relative, int *ret_days) {
        static const struct {
                const char *word;
                int days;
        } words[] = { { "today", 0 }, { "yesterday", -1 }, { "tomorrow", 1 } };
        const char *end;

        *ret_days = 0;
        end = isdigit((unsigned char)*s) ? strptime(s, "%Y-%m-%d", tm) : NULL;
        *ret_relative = !end;
        if (end)
                return end;
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t n = strlen(words[i].word);

                if (strncmp(s, words[i].word, n) == 0) {
                        *ret_days = words[i].days;
                        return s + n;
                }
        }
        return s;
}

/* The day it is now, by our clock or in the zone that is @ahead of UTC. */
static void set_today(struct tm *tm, time_t now, const long *ahead, int days) {
        struct tm today;

        if (ahead)
                now += *ahead;
        (void)(ahead ? gmtime_r(&now, &today) : localtime_r(&now, &today));
        tm->tm_year = today.tm_year;
        tm->tm_mon = today.tm_mon;
        tm->tm_mday = today.tm_mday + days;
}

static bool read_date(const char *s, uint64_t now_usec, uint64_t *ret_usec) {
        struct tm tm = { .tm_isdst = -1 };
        bool relative;
        int days;
        const char *rest = read_day(s, &tm, &relative, &days);
        uint64_t usec = 0;
        long ahead = 0;
        time_t t;

        if (rest == s) {
                if (!read_time(&rest, &tm, &usec))
                        return false;
        } else if (*rest == ' ' || *rest == 'T' || *rest == 't') {
                rest++;
                if (!read_time(&rest, &tm, &usec) && !streq(rest, "UTC"))
                        return false;
        } else if (*rest && !streq(rest, "Z"))
                return false;
        if (*rest && !read_zone(rest, &ahead))
                return false;
        if (relative)
                set_today(&tm, (time_t)(now_usec / USEC_PER_SEC), *rest ? &ahead : NULL, days);
        t = *rest ? timegm(&tm) - ahead : mktime(&tm);
        if (t < 0)
                return false;
        *ret_usec = (uint64_t)t * USEC_PER_SEC + usec;
        return true;
}

/** parse_moment() - microseconds since the epoch of a moment in one of the forms above; false: it is in none. */
bool parse_moment(const char *s, uint64_t now_usec, uint64_t *ret_usec) {
        bool sign = *s == '-' || *s == '+';
        const char *end;
        uint64_t span;

        if (*s == '@')
                return read_epoch(s + 1, ret_usec);
        if (streq(s, "now")) {
                *ret_usec = now_usec;
                return true;
        }
        end = duration_read(s + sign, &span);
        if (!end)
                return read_date(s, now_usec, ret_usec);
        if (*s == '+')
                *ret_usec = now_usec + span;
        else
                *ret_usec = span < now_usec ? now_usec - span : 0;
        return *s != '+' || !*end;
}

/** moment_option() - parse_moment() of an option's argument; prints what is wrong with it. 0 or an exit status. */
int moment_option(const Ctl *ctl, const char *arg, uint64_t *ret_usec) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        if (parse_moment(arg, (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC, ret_usec))
                return 0;
        return ctl_error(ctl, _("'%s' is no time; give a date such as '2025-01-31 12:00:00', 10m for ten minutes ago, "
                                "or yesterday"),
                         arg);
}
