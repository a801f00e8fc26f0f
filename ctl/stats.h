/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What running containers use, as one answer of the manager tells it. */

#include "ctl/bus.h"

#define STATS_UNKNOWN UINT64_MAX

typedef struct Usage {
        const char *ns, *id;                                   /* borrowed from the reply */
        uint64_t at, cpu, memory, limit, read, written, tasks; /* STATS_UNKNOWN: not counted here */
        double pressure; /* percent of the last ten seconds in which something waited for memory; negative: not known */
} Usage;

typedef struct Sample {
        Call call;
        Usage *v;
        size_t n;
} Sample;

int sample_take(Ctl *ctl, const char *ns, const Strv *ids, Sample *ret);
void sample_clear(Sample *sample);
double sample_cpu(const Sample *before, const Usage *now);
int sample_print_json(const Sample *sample, bool lines);
