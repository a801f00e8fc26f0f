/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What event.c, event-journal.c, event-memory.c and event-bus.c share. */

#include "daemon/event-log.h"
#include "daemon/event.h"
#include "daemon/process.h"

typedef struct EventJournal EventJournal;

struct Events {
        Manager *manager;
        EventLog log;
        EventJournal *journal;
        GHashTable *memory; /* what an event is about -> its type: the last of each that the last manager told */
        GHashTable *numbers; /* of which kill and which refused call of a task it has told last, while recovering */
        bool recovering;
        sd_bus_track *listeners; /* those who have called OpenEvents */
};

/* event-journal.c */
int event_journal_new(Events *e, EventJournal **ret);
EventJournal *event_journal_free(EventJournal *j);
void event_journal_wake(EventJournal *j);
void event_journal_rotated(EventJournal *j);

/* event-memory.c */
void event_memory_load(const char *text, size_t size, void *userdata); /* of an Events; a handler of event_log_open() */
void event_memory_complete(Events *e, const Process *p);
bool event_memory_drop(Events *e, EventType type, const char *ns, const char *id, const char *exec_id);

/* event-bus.c; details: pairs, both borrowed */
void event_bus_emit(Events *e, EventType type, const char *ns, const char *id, const char *object, uint64_t sequence,
                    uint64_t time, const GPtrArray *details);
