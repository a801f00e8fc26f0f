/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of how davitctl tells progress: the smoothed rate, the time left, the line for terminals of every width, and
 * lengths of time and moments as users write them. Pure functions in the C locale, with a clock of the test's own.
 */

#include <string.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/rate.h"
#include "ctl/text.h"
#include "shared/utf8.h"
#include "tests/unit/test.h"

#define MB UINT64_C(1000000)
#define SECOND USEC_PER_SEC

/* A rate after so many seconds of even work. */
static Rate even(unsigned seconds, uint64_t per_second) {
        Rate rate;

        rate_begin(&rate, 5 * SECOND);
        for (unsigned i = 1; i <= seconds * 10; i++)
                rate_step(&rate, 5 * SECOND + i * SECOND / 10, i * per_second / 10);
        return rate;
}

static void even_work(void) {
        Rate rate = even(4, 10 * MB);
        Amount amount = { .done = 40 * MB, .total = 100 * MB };
        uint64_t left;

        ASSERT_TRUE(rate.per_second > 9.9e6 && rate.per_second < 10.1e6);
        ASSERT_TRUE(rate_left(&rate, &amount, &left));
        ASSERT_EQ(left, 6);
        amount.done = amount.total;
        ASSERT_TRUE(rate_left(&rate, &amount, &left));
        ASSERT_EQ(left, 0);
}

static void a_pause_and_a_burst_are_smoothed(void) {
        Rate rate = even(4, 10 * MB);

        rate_step(&rate, rate.at + SECOND, rate.done);
        ASSERT_TRUE(rate.per_second > 5e6 && rate.per_second < 10e6);
        rate = even(4, 10 * MB);
        rate_step(&rate, rate.at + SECOND / 10, rate.done + 100 * MB);
        ASSERT_TRUE(rate.per_second > 10e6 && rate.per_second < 60e6);
}

static void what_cannot_be_known(void) {
        Amount amount = { .done = 1 * MB, .total = 100 * MB };
        Rate rate = {};
        uint64_t left;

        rate_begin(&rate, 5 * SECOND);
        ASSERT_FALSE(rate_left(&rate, &amount, &left));
        rate_step(&rate, 5 * SECOND, 1 * MB); /* no time has gone by */
        ASSERT_TRUE(rate.per_second < 1);
        rate_step(&rate, 5 * SECOND + SECOND / 10, 1 * MB);
        ASSERT_FALSE(rate_left(&rate, &amount, &left)); /* too early */
        rate = even(4, 10 * MB);
        amount.total = 0;
        ASSERT_FALSE(rate_left(&rate, &amount, &left));
        amount.total = UINT64_MAX; /* longer than anybody waits */
        ASSERT_FALSE(rate_left(&rate, &amount, &left));
        rate_step(&rate, rate.at + SECOND, 0); /* begins anew */
        ASSERT_TRUE(rate.per_second >= 0);
}

static void clocks(void) {
        static const struct {
                uint64_t seconds;
                const char *text;
        } good[] = { { 0, "0:00" }, { 3, "0:03" }, { 765, "12:45" }, { 3723, "1:02:03" }, { 360000, "100:00:00" } };
        char text[RATE_CLOCK_MAX];

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                ASSERT_STREQ(rate_clock(good[i].seconds, text), good[i].text);
}

static void lines_fit(void) {
        const Amount amounts[] = { { .done = 40 * MB, .total = 100 * MB, .layers = 1, .all_layers = 3 },
                                   { .done = 40 * MB, .total = 100 * MB },
                                   { .done = 40 * MB },
                                   { .done = 200 * MB, .total = 100 * MB, .layers = 3, .all_layers = 3 },
                                   { .total = 1 } };
        Rate rate = even(4, 10 * MB);

        for (size_t i = 0; i < ELEMENTSOF(amounts); i++)
                for (unsigned columns = 20; columns < 200; columns++) {
                        _cleanup_free_ char *line = rate_line(&rate, &amounts[i], columns);

                        ASSERT_TRUE(line);
                        ASSERT_TRUE(strlen(line) < columns);
                }
}

static void lines_say(void) {
        const Amount amount = { .done = 40 * MB, .total = 100 * MB, .layers = 1, .all_layers = 3 };
        Rate rate = even(4, 10 * MB), none = {};
        _cleanup_free_ char *wide = rate_line(&rate, &amount, 120), *narrow = rate_line(&rate, &amount, 40),
                            *least = rate_line(&rate, &amount, 0), *first = rate_line(&none, &(Amount){}, 80),
                            *end = rate_summary(&rate, rate.begun + 4 * SECOND),
                            *longer = rate_summary(&rate, rate.begun + 125 * SECOND);

        ASSERT_STREQ(wide, "[################                        ] 40% 40.0 MB of 100 MB, layer 2 of 3, "
                           "10.0 MB/s, 0:06 left");
        ASSERT_STREQ(narrow, "40% 40.0 MB of 100 MB, layer 2 of 3");
        ASSERT_STREQ(least, "40%");
        ASSERT_STREQ(first, "0 B");
        ASSERT_STREQ(end, "40.0 MB in 4.0 s, 10.0 MB/s");
        ASSERT_STREQ(longer, "40.0 MB in 2:05, 320 kB/s");
}

static void durations_are_read(void) {
        static const struct {
                const char *text;
                uint64_t seconds;
        } good[] = { { "90", 90 },     { "30s", 30 },        { "30m", 1800 },      { "12h", 43200 },
                     { "7d", 604800 }, { "2w", 1209600 },    { "1h30m", 5400 },    { "0", 0 },
                     { "5min", 300 },  { "1h 30min", 5400 }, { "2 days", 172800 }, { "1hr5secs", 3605 } };
        static const char *const bad[] = { "",
                                           "m",
                                           "1x",
                                           "-1",
                                           "1.5h",
                                           "1h ",
                                           " 1h",
                                           "5 min ago",
                                           "ago",
                                           "1 ",
                                           "1mi",
                                           "1daysdaysdays",
                                           "99999999999999",
                                           "1000000w" };
        uint64_t usec;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ASSERT_TRUE(parse_duration(good[i].text, &usec));
                ASSERT_EQ(usec, good[i].seconds * SECOND);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse_duration(bad[i], &usec)) {
                        fprintf(stderr, "'%s' was read as a length of time\n", bad[i]);
                        exit(1);
                }
}

static void moments_are_read(void) {
        static const char *const bad[] = { "",           "yesterdays",  "ago",         "--5min",       "5min agoo",
                                           "2025-13-01", "2025-01-31T", "2025-01-31x", "1960-01-01Z",  "+5min ago",
                                           "@",          "@1x",         "24:61",       "2025-01-31+2", "+yesterday",
                                           "today 1",    "10:30 +2",    " 2025-01-31", "2025-01-31 10:00:00+99:00" };
        static const struct {
                const char *text;
                uint64_t seconds;
        } good[] = {
                { "today", 1699927200 },
                { "yesterday", 1699840800 },
                { "tomorrow", 1700013600 },
                { "yesterday 10:00", 1699876800 },
                { "20:13", 1699999980 },
                { "20:13:20 UTC", 1699992800 },
                { "2023-11-14 22:13:20 UTC", 1700000000 },
                { "2023-11-15T00:13:20+02:00", 1700000000 },
                { "2023-11-14T17:13:20-0500", 1700000000 },
                { "@1700000000", 1700000000 },
                { "+10s", 1700000010 },
                { "1 month", 1700000000 - 2629800 },
        };
        const uint64_t now = UINT64_C(1700000000) * SECOND;
        uint64_t usec;

        ASSERT_EQ(setenv("TZ", "UTC+2", 1), 0);
        tzset();
        ASSERT_TRUE(parse_moment("24h", now, &usec));
        ASSERT_EQ(usec, now - 86400 * SECOND);
        ASSERT_TRUE(parse_moment("5min ago", now, &usec));
        ASSERT_EQ(usec, now - 300 * SECOND);
        ASSERT_TRUE(parse_moment("-1 day", now, &usec));
        ASSERT_EQ(usec, now - 86400 * SECOND);
        ASSERT_TRUE(parse_moment("now", now, &usec));
        ASSERT_EQ(usec, now);
        ASSERT_TRUE(parse_moment("5000w", now, &usec));
        ASSERT_EQ(usec, 0);
        ASSERT_TRUE(parse_moment("2023-11-14T22:13:20Z", now, &usec));
        ASSERT_EQ(usec, now);
        ASSERT_TRUE(parse_moment("2023-11-14 20:13:20", now, &usec));
        ASSERT_EQ(usec, now);
        ASSERT_TRUE(parse_moment("2023-11-14", now, &usec));
        ASSERT_EQ(usec, (UINT64_C(1699920000) + 7200) * SECOND);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                ASSERT_TRUE(parse_moment(good[i].text, now, &usec));
                ASSERT_EQ(usec, good[i].seconds * SECOND);
        }
        ASSERT_TRUE(parse_moment("@1700000000.25", now, &usec));
        ASSERT_EQ(usec, now + SECOND / 4);
        ASSERT_TRUE(parse_moment("2023-11-14T22:13:20.123456789Z", now, &usec));
        ASSERT_EQ(usec, now + 123456);
        ASSERT_TRUE(parse_moment("10:30Z", now + 2 * 3600 * SECOND, &usec)); /* tomorrow already, there */
        ASSERT_EQ(usec, UINT64_C(1700044200) * SECOND);
        ASSERT_TRUE(parse_moment("todayZ", now + 2 * 3600 * SECOND, &usec));
        ASSERT_EQ(usec, UINT64_C(1700006400) * SECOND);
        ASSERT_TRUE(parse_moment("today 10:00Z", now + 2 * 3600 * SECOND, &usec));
        ASSERT_EQ(usec, UINT64_C(1700042400) * SECOND);
        ASSERT_TRUE(parse_moment("yesterday 10:00+02:00", now, &usec));
        ASSERT_EQ(usec, UINT64_C(1699948800) * SECOND);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse_moment(bad[i], now, &usec)) {
                        fprintf(stderr, "'%s' was read as a moment\n", bad[i]);
                        exit(1);
                }
}

static void characters_are_measured(void) {
        ASSERT_EQ(utf8_length("a"), 1);
        ASSERT_EQ(utf8_length("\xc3\xa4"), 2);
        ASSERT_EQ(utf8_length("\xe2\x82\xac"), 3);
        ASSERT_EQ(utf8_length("\xf0\x9f\x9a\xa2"), 4);
        ASSERT_EQ(utf8_length("\xc3"), 0);
        ASSERT_EQ(utf8_length("\x9b"), 0);
        ASSERT_EQ(utf8_length("\xc0\xaf"), 0);     /* too long a form */
        ASSERT_EQ(utf8_length("\xed\xa0\x80"), 0); /* half a pair */
        ASSERT_EQ(utf8_length("\xf5\x80\x80\x80"), 0);
}

TEST_MAIN({ "even work", even_work }, { "a pause and a burst are smoothed", a_pause_and_a_burst_are_smoothed },
          { "what cannot be known", what_cannot_be_known }, { "clocks", clocks }, { "lines fit", lines_fit },
          { "lines say", lines_say }, { "durations are read", durations_are_read },
          { "moments are read", moments_are_read }, { "characters are measured", characters_are_measured })
