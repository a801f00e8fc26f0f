/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* SHA-256 (FIPS 180-4), for davitctl links no library that has it. */

#include <stddef.h>
#include <stdint.h>

#define SHA256_TEXT_MAX 72U /* "sha256:" and 64 digits */

typedef struct Sha256 {
        uint32_t state[8];
        uint64_t size; /* bytes so far */
        uint8_t block[64];
} Sha256;

void sha256_begin(Sha256 *s);
void sha256_add(Sha256 *s, const void *data, size_t size);
void sha256_end(Sha256 *s, char ret[SHA256_TEXT_MAX]);
