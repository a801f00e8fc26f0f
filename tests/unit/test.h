/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Assertions of the unit tests that link libc alone. Each prints both values and ends the program; TEST(name) functions
 * run in the order of test_main()'s list, one line each. Tests of GLib code use g_test instead.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASSERT_OP(a, op, b)                                                                                            \
        do {                                                                                                           \
                intmax_t _a = (intmax_t)(a), _b = (intmax_t)(b);                                                       \
                if (!(_a op _b)) {                                                                                     \
                        fprintf(stderr, "%s:%d: %s " #op " %s failed: %jd, %jd\n", __FILE__, __LINE__, #a, #b, _a,     \
                                _b);                                                                                   \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)
#define ASSERT_EQ(a, b) ASSERT_OP(a, ==, b)
#define ASSERT_NE(a, b) ASSERT_OP(a, !=, b)
#define ASSERT_GE(a, b) ASSERT_OP(a, >=, b)
#define ASSERT_OK(a) ASSERT_OP(a, >=, 0)
#define ASSERT_TRUE(a) ASSERT_OP(!!(a), ==, 1)
#define ASSERT_FALSE(a) ASSERT_OP(!!(a), ==, 0)
#define ASSERT_STREQ(a, b)                                                                                             \
        do {                                                                                                           \
                const char *_a = (a), *_b = (b);                                                                       \
                if (!_a || !_b || strcmp(_a, _b) != 0) {                                                               \
                        fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #a,                   \
                                _a ? _a : "(null)", _b ? _b : "(null)");                                               \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

struct test {
        const char *name;
        void (*run)(void);
};

static inline int test_main(const struct test *tests, size_t n) {
        for (size_t i = 0; i < n; i++) {
                tests[i].run();
                printf("ok - %s\n", tests[i].name);
        }
        return 0;
}
#define TEST_MAIN(...)                                                                                                 \
        int main(void) {                                                                                               \
                static const struct test tests[] = { __VA_ARGS__ };                                                    \
                return test_main(tests, sizeof(tests) / sizeof(tests[0]));                                             \
        }
