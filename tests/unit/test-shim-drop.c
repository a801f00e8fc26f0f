/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests shim/drop.c: how soon an output is looked at again, of every time that may be asked for. */

#include "shared/macros.h"
#include "shared/process.h"
#include "shared/shim-drop.h"
#include "shim/drop.h"
#include "tests/unit/test.h"

static const uint64_t times[] = { SHIM_DROP_AFTER_USEC_MIN, 100000, USEC_PER_SEC, 60 * USEC_PER_SEC,
                                  SHIM_DROP_AFTER_USEC_MAX };

/* The pace after as many looks as it takes to become steady. */
static uint64_t settle(uint64_t pace, uint64_t after, bool still) {
        for (unsigned i = 0; i < 64; i++)
                pace = drop_pace(pace, after, still);
        return pace;
}

static void test_still(void) {
        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                uint64_t most = times[i] / 4 > USEC_PER_SEC ? times[i] / 4 : USEC_PER_SEC, pace = 0;

                for (unsigned n = 0; n < 64; n++) {
                        uint64_t next = drop_pace(pace, times[i], true);

                        ASSERT_TRUE(next >= pace && next > 0);
                        ASSERT_TRUE(next <= most);
                        pace = next;
                }
                ASSERT_EQ(pace, most);
        }
}

static void test_moving(void) {
        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                ASSERT_EQ(drop_pace(0, times[i], false), times[i] / 4);
                ASSERT_EQ(settle(0, times[i], false), times[i] / 4);
                /* At once, however long it was still. */
                ASSERT_TRUE(drop_pace(settle(0, times[i], true), times[i], false) <= times[i] / 4);
        }
}

/* The pace of drops is far quicker, and left step by step. */
static void test_after_a_drop(void) {
        ASSERT_EQ(drop_pace(500, 100000, false), 1000);
        ASSERT_EQ(drop_pace(500, 100000, true), 1000);
}

TEST_MAIN({ "still", test_still }, { "moving", test_moving }, { "after a drop", test_after_a_drop })
