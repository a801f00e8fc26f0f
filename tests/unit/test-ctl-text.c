/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of what davitctl reads from people and writes for them: sizes, numbers, ages, commands, control characters.
 * Pure functions, so nothing is needed; translations are switched off by the C locale.
 * The tables hold what users of other container tools type.
 */

#include <string.h>

#include "ctl/ctl.h"
#include "ctl/text.h"
#include "tests/unit/test.h"

static void sizes_are_read(void) {
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = {
                { "0", 0 },           { "1", 1 },          { "100b", 100 },      { "512k", 512 * 1024 },
                { "64m", 64 << 20 },  { "64M", 64 << 20 }, { "64MB", 64 << 20 }, { "64MiB", 64 << 20 },
                { "1.5g", 3U << 29 }, { "0.5k", 512 },     { "2t", 2ULL << 40 }, { "1p", 1ULL << 50 },
        };
        static const char *const bad[] = { "",       "-1",    "+1", "m",    "1x",  "1mm",
                                           "1 m",    "1.5.2", " 1", "0x10", "1e3", "99999999999999999999",
                                           "20000p", "1ib",   "1bb" };
        uint64_t bytes;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ASSERT_TRUE(parse_size(good[i].text, &bytes));
                ASSERT_EQ(bytes, good[i].bytes);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse_size(bad[i], &bytes)) {
                        fprintf(stderr, "'%s' was read as a size\n", bad[i]);
                        exit(1);
                }
}

static void numbers_are_read(void) {
        uint64_t n;

        ASSERT_TRUE(parse_cpus("1.5", &n));
        ASSERT_EQ(n, 1500000);
        ASSERT_TRUE(parse_cpus("0.000001", &n));
        ASSERT_EQ(n, 1);
        ASSERT_FALSE(parse_cpus("0", &n));
        ASSERT_FALSE(parse_cpus("-1", &n));
        ASSERT_FALSE(parse_cpus("1,5", &n));
        ASSERT_TRUE(parse_seconds("10", &n));
        ASSERT_EQ(n, 10000000);
        ASSERT_TRUE(parse_seconds("0.25s", &n));
        ASSERT_EQ(n, 250000);
        ASSERT_FALSE(parse_seconds("1m", &n));
        ASSERT_TRUE(parse_unsigned("4294967295", UINT32_MAX, &n));
        ASSERT_FALSE(parse_unsigned("4294967296", UINT32_MAX, &n));
        ASSERT_FALSE(parse_unsigned("18446744073709551616", UINT64_MAX, &n));
        ASSERT_FALSE(parse_unsigned("1x", 10, &n));
        ASSERT_FALSE(parse_unsigned("", 10, &n));
}

static void sizes_are_written(void) {
        char text[TEXT_SIZE_MAX];

        ASSERT_STREQ(text_size(0, text), "0 B");
        ASSERT_STREQ(text_size(999, text), "999 B");
        ASSERT_STREQ(text_size(1000, text), "1.00 kB");
        ASSERT_STREQ(text_size(74800000, text), "74.8 MB");
        ASSERT_STREQ(text_size(999600000, text), "1.00 GB");
        ASSERT_STREQ(text_size(UINT64_MAX, text), "18.4 EB");
}

static void check_age(uint64_t seconds, const char *expected) {
        uint64_t now = UINT64_C(1700000000) * USEC_PER_SEC;
        _cleanup_free_ char *text = text_age(now - seconds * USEC_PER_SEC, now);

        ASSERT_STREQ(text, expected);
}

static void ages_are_written(void) {
        _cleanup_free_ char *unknown = text_age(0, 1), *future = text_age(2, 1);

        check_age(0, "less than a second ago");
        check_age(1, "1 second ago");
        check_age(59, "59 seconds ago");
        check_age(60, "1 minute ago");
        check_age(3599, "59 minutes ago");
        check_age(47 * 3600, "47 hours ago");
        check_age(48 * 3600, "2 days ago");
        check_age(20 * 86400, "2 weeks ago");
        check_age(70 * 86400, "2 months ago");
        check_age(1000 * 86400, "2 years ago");
        ASSERT_STREQ(unknown, "-");
        ASSERT_STREQ(future, "less than a second ago");
}

static void controls_are_visible(void) {
        _cleanup_free_ char *escape = text_visible("a\033[31mb\n\x7f"),
                            *c1 = text_visible("\xc2\x9b"
                                               "31m"),
                            *plain = text_visible("grün"), *broken = text_visible("a\xff\xc3z");

        ASSERT_STREQ(escape, "a\\x1b[31mb\\x0a\\x7f");
        ASSERT_STREQ(c1, "\\xc2\\x9b31m");
        ASSERT_STREQ(plain, "grün");
        ASSERT_STREQ(broken, "a\\xff\\xc3z");
        ASSERT_EQ(text_width("grün…"), 5);
}

static void commands_are_quoted(void) {
        char *argv[] = { (char *)"sh", (char *)"-c", (char *)"echo it's", (char *)"", NULL };
        _cleanup_free_ char *text = text_command(argv), *none = text_command(NULL);
        char digest[TEXT_SIZE_MAX];

        ASSERT_STREQ(text, "sh -c \"echo it's\" ''");
        ASSERT_STREQ(none, "");
        ASSERT_STREQ(text_digest("sha256:0123456789abcdef", digest), "0123456789ab");
        ASSERT_STREQ(text_digest("", digest), "");
}

TEST_MAIN({ "sizes are read", sizes_are_read }, { "numbers are read", numbers_are_read },
          { "sizes are written", sizes_are_written }, { "ages are written", ages_are_written },
          { "controls are visible", controls_are_visible }, { "commands are quoted", commands_are_quoted })
