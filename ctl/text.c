/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text for people and from people: sizes, ages and commands as davitctl prints them, sizes and numbers as users write
 * them. Pure functions; the parsers take a whole string or refuse it, they never guess at a part.
 * Sizes are printed in units of 1000 and read in units of 1024, as users of container tools have it.
 */

#include "ctl/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "shared/utf8.h"

/* The bytes of what a terminal must not get: a control character, or what is no UTF-8. */
static size_t control_length(const char *s) {
        const unsigned char *u = (const unsigned char *)s;

        if (u[0] < 0x20 || u[0] == 0x7f || utf8_length(s) == 0)
                return 1;
        return u[0] == 0xc2 && u[1] < 0xa0 ? 2 : 0; /* C1 controls in UTF-8 */
}

/** text_visible() - a copy with control characters and what is no UTF-8 written as \xNN; to free. */
char *text_visible(const char *s) {
        char *text = malloc(strlen(s) * 4 + 1), *p = text;

        if (!text)
                return NULL;
        while (*s) {
                size_t n = control_length(s);

                if (n == 0) {
                        for (n = utf8_length(s); n > 0; n--)
                                *p++ = *s++;
                        continue;
                }
                for (; n > 0; n--, s++)
                        p += sprintf(p, "\\x%02x", (unsigned char)*s);
        }
        *p = '\0';
        return text;
}

/** text_width() - columns a UTF-8 text takes, one for each character. */
size_t text_width(const char *s) {
        size_t n = 0;

        for (; *s; s++)
                n += ((unsigned char)*s & 0xc0) != 0x80;
        return n;
}

/** text_size() - bytes with a unit of 1000, three figures: "74.8 MB". */
const char *text_size(uint64_t bytes, char ret[TEXT_SIZE_MAX]) {
        static const char units[][3] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
        double value = (double)bytes;
        size_t unit = 0;

        while (value >= 999.5 && unit + 1 < ELEMENTSOF(units)) {
                value /= 1000;
                unit++;
        }
        (void)snprintf(ret, TEXT_SIZE_MAX, "%.*f %s",
                       unit == 0 || value >= 99.95 ? 0
                       : value >= 9.995            ? 1
                                                   : 2,
                       value, units[unit]);
        return ret;
}

/** text_span() - a length of time in its largest sensible unit, translated: "3 hours"; to free. */
char *text_span(uint64_t usec) {
        uint64_t s = usec / USEC_PER_SEC;

        if (s < 1)
                return strdup(_("less than a second"));
        if (s < 60)
                return text_printf(ctl_ngettext("%" PRIu64 " second", "%" PRIu64 " seconds", s), s);
        if (s < 60 * 60)
                return text_printf(ctl_ngettext("%" PRIu64 " minute", "%" PRIu64 " minutes", s / 60), s / 60);
        s /= 60 * 60;
        if (s < 48)
                return text_printf(ctl_ngettext("%" PRIu64 " hour", "%" PRIu64 " hours", s), s);
        s /= 24;
        if (s < 14)
                return text_printf(ctl_ngettext("%" PRIu64 " day", "%" PRIu64 " days", s), s);
        if (s < 60)
                return text_printf(ctl_ngettext("%" PRIu64 " week", "%" PRIu64 " weeks", s / 7), s / 7);
        if (s < 730)
                return text_printf(ctl_ngettext("%" PRIu64 " month", "%" PRIu64 " months", s / 30), s / 30);
        return text_printf(ctl_ngettext("%" PRIu64 " year", "%" PRIu64 " years", s / 365), s / 365);
}

/** text_age() - how long ago a moment was: "3 hours ago"; "-" for 0, which stands for not known. */
char *text_age(uint64_t then, uint64_t now) {
        _cleanup_free_ char *span = NULL;

        if (then == 0)
                return strdup("-");
        span = text_span(now > then ? now - then : 0);
        return span ? text_printf(_("%s ago"), span) : NULL;
}

/** text_command() - an argument vector on one line, arguments with blanks or quotes quoted; to free. */
char *text_command(char *const *argv) {
        size_t size = 1;
        char *text, *p;

        for (char *const *a = argv; a && *a; a++)
                size += strlen(*a) + 3;
        p = text = malloc(size);
        if (!text)
                return NULL;
        for (char *const *a = argv; a && *a; a++) {
                const char *quote = **a && !strpbrk(*a, " \t\n\"'") ? "" : strchr(*a, '\'') ? "\"" : "'";

                p += sprintf(p, "%s%s%s%s", a == argv ? "" : " ", quote, *a, quote);
        }
        *p = '\0';
        return text;
}

/** text_digest() - the first twelve digits of a digest without its algorithm. */
const char *text_digest(const char *digest, char ret[TEXT_SIZE_MAX]) {
        const char *colon = strchr(digest, ':');

        (void)snprintf(ret, TEXT_SIZE_MAX, "%.12s", colon ? colon + 1 : digest);
        return ret;
}

/** parse_unsigned() - a whole decimal number from 0 to max. */
bool parse_unsigned(const char *s, uint64_t max, uint64_t *ret) {
        char *end;
        unsigned long long value;

        if (!isdigit((unsigned char)*s))
                return false;
        errno = 0;
        value = strtoull(s, &end, 10);
        if (errno != 0 || *end || value > max)
                return false;
        *ret = value;
        return true;
}

/* A decimal fraction in units of 1/scale; exact, where a double would round. */
static bool parse_fraction(const char *s, const char **end, uint64_t scale, uint64_t *ret) {
        uint64_t whole = 0, part = 0, step = scale;

        if (!isdigit((unsigned char)*s))
                return false;
        for (; isdigit((unsigned char)*s); s++) {
                if (whole > (UINT64_MAX / scale - 9) / 10)
                        return false;
                whole = whole * 10 + (uint64_t)(*s - '0');
        }
        if (*s == '.')
                for (s++; isdigit((unsigned char)*s); s++) {
                        step /= 10;
                        part += step * (uint64_t)(*s - '0');
                }
        *end = s;
        *ret = whole * scale + part;
        return true;
}

/** parse_size() - bytes, with a unit of 1024: "64m", "1.5G", "512k", "100b", "2GiB". */
bool parse_size(const char *s, uint64_t *ret) {
        static const char units[] = "bkmgtp";
        const char *end, *unit;
        uint64_t millis, factor = 1;

        if (!parse_fraction(s, &end, 1000, &millis))
                return false;
        if (*end) {
                unit = strchr(units, tolower((unsigned char)*end));
                if (!unit)
                        return false;
                factor = UINT64_C(1) << (10 * (unit - units));
                end++;
                if (unit != units && *end == 'i')
                        end++;
                if (unit != units && (*end == 'B' || *end == 'b'))
                        end++;
                if (*end)
                        return false;
        }
        if (__builtin_mul_overflow(millis, factor, &millis))
                return false;
        *ret = millis / 1000;
        return true;
}

/** parse_cpus() - a number of processors as microseconds of processor time a second: "1.5" is 1500000. */
bool parse_cpus(const char *s, uint64_t *ret_usec_per_sec) {
        const char *end;

        return parse_fraction(s, &end, USEC_PER_SEC, ret_usec_per_sec) && !*end && *ret_usec_per_sec > 0;
}

/** parse_seconds() - seconds, with a fraction where wanted, as microseconds. */
bool parse_seconds(const char *s, uint64_t *ret_usec) {
        const char *end;

        return parse_fraction(s, &end, USEC_PER_SEC, ret_usec) && (!*end || streq(end, "s"));
}
