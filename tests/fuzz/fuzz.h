/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every fuzz target has: libFuzzer's entry point, and what the targets need to make inputs of. */

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts the next part off an input: everything before @mark, or all that is left. */
static inline void fuzz_part(const uint8_t **data, size_t *size, const uint8_t **ret, size_t *ret_size) {
        static const uint8_t mark[] = { '\n', '=', '=', '\n' };

        *ret = *data;
        for (size_t i = 0; i + sizeof(mark) <= *size; i++)
                if (__builtin_memcmp(*data + i, mark, sizeof(mark)) == 0) {
                        *ret_size = i;
                        *data += i + sizeof(mark);
                        *size -= i + sizeof(mark);
                        return;
                }
        *ret_size = *size;
        *data += *size;
        *size = 0;
}
