/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How far work has come and how fast it goes. Pure functions. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Amount {
        uint64_t done, total;        /* bytes; total 0: not known */
        uint32_t layers, all_layers; /* 0 where there are none */
} Amount;

typedef struct Rate {
        uint64_t begun, at; /* microseconds of a clock that never goes back */
        uint64_t done;      /* bytes at that time */
        double per_second;  /* smoothed; 0: not known yet */
} Rate;

#define RATE_CLOCK_MAX 32U

void rate_begin(Rate *rate, uint64_t now);
void rate_step(Rate *rate, uint64_t now, uint64_t done);
bool rate_left(const Rate *rate, const Amount *amount, uint64_t *ret_seconds);
const char *rate_clock(uint64_t seconds, char ret[RATE_CLOCK_MAX]);
char *rate_line(const Rate *rate, const Amount *amount, unsigned columns);
char *rate_summary(const Rate *rate, uint64_t now);
