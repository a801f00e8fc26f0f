/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The progress of a job, as one line on a terminal. */

#include "shared/dbus.h"

#include "ctl/ctl.h"
#include "ctl/rate.h"

typedef struct Progress {
        const char *job; /* its object path, once known */
        bool shown;      /* stderr is a terminal */
        bool drawn;
        unsigned columns;
        Rate rate;
} Progress;

void progress_begin(Progress *p, bool quiet);
void progress_step(Progress *p, const Amount *amount);
void progress_signal(Progress *p, Message *m);
void progress_end(Progress *p, bool whole);
