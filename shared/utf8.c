/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is UTF-8 and what is not: for texts that go to a bus or a terminal. It looks at characters only, and never
 * changes a text.
 */

#include "shared/utf8.h"

#include <stdint.h>

#include "shared/macros.h"

/** utf8_length() - the bytes of the character a text begins with; 0 where that is no valid UTF-8. */
size_t utf8_length(const char *text) {
        static const struct {
                unsigned char mask, lead;
                uint32_t min;
        } forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };
        const unsigned char *s = (const unsigned char *)text;

        for (size_t n = 0; n < ELEMENTSOF(forms); n++) {
                uint32_t c = s[0] & (unsigned char)~forms[n].mask;

                if ((s[0] & forms[n].mask) != forms[n].lead)
                        continue;
                for (size_t i = 1; i <= n; i++) {
                        if ((s[i] & 0xc0) != 0x80)
                                return 0;
                        c = c << 6 | (s[i] & 0x3f);
                }
                return c < forms[n].min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n + 1;
        }
        return 0;
}
