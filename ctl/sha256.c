/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SHA-256, to verify content on its last way to the user's disk. What comes into the store is verified by the store.
 * Written from FIPS 180-4: sections 4.1.2 (functions), 5.1.1 (padding), 5.3.3 (initial values) and 6.2.2 (the hash).
 * The round constants are the fractions of the cube roots of the first 64 primes, the initial values those of the
 * square roots of the first 8. It knows no files.
 */

#include "ctl/sha256.h"

#include <stdio.h>
#include <string.h>

static const uint32_t rounds[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n) {
        return x >> n | x << (32 - n);
}

static uint32_t load(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void extend(uint32_t w[64], const uint8_t block[64]) {
        for (unsigned t = 0; t < 16; t++)
                w[t] = load(block + 4 * t);
        for (unsigned t = 16; t < 64; t++) {
                uint32_t a = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
                uint32_t b = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;

                w[t] = b + w[t - 7] + a + w[t - 16];
        }
}

static void compress(uint32_t state[8], const uint8_t block[64]) {
        uint32_t w[64], v[8];

        extend(w, block);
        memcpy(v, state, sizeof(v));
        for (unsigned t = 0; t < 64; t++) {
                uint32_t choose = (v[4] & v[5]) ^ (~v[4] & v[6]);
                uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
                uint32_t one =
                        v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) + choose + rounds[t] + w[t];
                uint32_t two = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) + majority;

                memmove(v + 1, v, 7 * sizeof(*v));
                v[4] += one;
                v[0] = one + two;
        }
        for (unsigned i = 0; i < 8; i++)
                state[i] += v[i];
}

/** sha256_begin() - of nothing so far. */
void sha256_begin(Sha256 *s) {
        static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

        memcpy(s->state, initial, sizeof(initial));
        s->size = 0;
}

/** sha256_add() - and of these bytes. */
void sha256_add(Sha256 *s, const void *data, size_t size) {
        const uint8_t *p = data;
        size_t held = s->size % sizeof(s->block);

        s->size += size;
        if (held > 0) {
                size_t n = sizeof(s->block) - held < size ? sizeof(s->block) - held : size;

                memcpy(s->block + held, p, n);
                p += n;
                size -= n;
                if (held + n < sizeof(s->block))
                        return;
                compress(s->state, s->block);
        }
        for (; size >= sizeof(s->block); p += sizeof(s->block), size -= sizeof(s->block))
                compress(s->state, p);
        memcpy(s->block, p, size);
}

/** sha256_end() - the digest as "sha256:" and hexadecimal digits. */
void sha256_end(Sha256 *s, char ret[SHA256_TEXT_MAX]) {
        static const uint8_t padding[64] = { 0x80 };
        uint64_t bits = s->size * 8;
        uint8_t length[8];
        char *p = ret;

        sha256_add(s, padding, 1 + (119 - s->size % 64) % 64);
        for (unsigned i = 0; i < 8; i++)
                length[i] = (uint8_t)(bits >> (56 - 8 * i));
        sha256_add(s, length, sizeof(length));
        p += sprintf(p, "sha256:");
        for (unsigned i = 0; i < 8; i++)
                p += sprintf(p, "%08x", s->state[i]);
}
