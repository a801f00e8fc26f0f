/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Events: from a record or a signal to a line of output, those that are wanted. */

#include <stdio.h>

#include "ctl/bus.h"

#define EVENT_DETAILS_MAX 16U

typedef struct Event {
        const char *type, *ns, *id, *object; /* borrowed, "" where there is none */
        uint64_t sequence, time;
        const char *details[2 * EVENT_DETAILS_MAX]; /* name, value, ... */
        size_t n_details;
        Strv text; /* what a record's are borrowed from */
} Event;

#define _cleanup_event_ _cleanup_(event_clear)

typedef struct EventFilter {
        const char *ns; /* NULL: any */
        Strv types, ids, containers, images;
        uint64_t after;        /* sequence */
        uint64_t since, until; /* microseconds since the epoch */
} EventFilter;

/* records: lines NAME=VALUE, or the journal's export of them, each ended by an empty line */
int event_read(FILE *stream, Event *event);
int event_from_signal(Message *m, Event *event);
void event_clear(Event *event);

bool event_type_known(const char *type);
const char *const *event_types(void);
bool event_type_matches(const char *type, const char *wanted);
bool event_wanted(const Event *event, const EventFilter *filter);
int event_filter_add(Ctl *ctl, EventFilter *filter, const char *arg);
void event_filter_clear(EventFilter *filter);
void event_print(const Ctl *ctl, const Event *event);

/* event-history.c: those of the journal, up to but without the number before; each wanted one is printed */
int events_of_journal(Ctl *ctl, EventFilter *filter, uint64_t before);
int events_of_file(Ctl *ctl, EventFilter *filter, int fd, uint64_t before);
