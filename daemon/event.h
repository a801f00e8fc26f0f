/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Events: what has happened, in one order, numbered; told on the bus, kept in /run, written to the journal. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/manager.h"

typedef enum EventType {
        EVENT_CONTAINER_CREATE,
        EVENT_CONTAINER_UPDATE,
        EVENT_CONTAINER_DELETE,
        EVENT_TASK_CREATE,
        EVENT_TASK_START,
        EVENT_TASK_FAILED,
        EVENT_TASK_PAUSED,
        EVENT_TASK_RESUMED,
        EVENT_TASK_CHECKPOINTED,
        EVENT_TASK_OOM,
        EVENT_TASK_SECCOMP,
        EVENT_TASK_EXIT,
        EVENT_TASK_DELETE,
        EVENT_EXEC_ADDED,
        EVENT_EXEC_STARTED,
        EVENT_EXEC_EXITED,
        EVENT_EXEC_DELETED,
        EVENT_IMAGE_CREATE,
        EVENT_IMAGE_UPDATE,
        EVENT_IMAGE_DELETE,
        EVENT_SNAPSHOT_PREPARE,
        EVENT_SNAPSHOT_COMMIT,
        EVENT_SNAPSHOT_UPDATE,
        EVENT_SNAPSHOT_REMOVE,
        EVENT_CONTENT_CREATE,
        EVENT_CONTENT_UPDATE,
        EVENT_CONTENT_DELETE,
        EVENT_LEASE_CREATE,
        EVENT_LEASE_UPDATE,
        EVENT_LEASE_DELETE,
        EVENT_NAMESPACE_CREATE,
        EVENT_NAMESPACE_UPDATE,
        EVENT_NAMESPACE_DELETE,
        EVENT_JOB_FAILED,
        _EVENT_TYPE_MAX,
} EventType;

typedef struct EventInfo {
        const char *name;
        const char *message_id;
        int priority; /* of syslog */
        const char *sentence;
} EventInfo;

typedef struct Container Container;
typedef struct Exec Exec;
typedef struct Process Process;
typedef struct Task Task;

/* types, event-type.c */
const EventInfo *event_info(EventType type);
EventType event_type_from_name(const char *name);
bool event_is_end(EventType type);

/* life */
int events_new(Manager *m, Events **ret);
Events *events_free(Events *e);

/* telling: further arguments are pairs of a field of the journal and its value (NULL: leave it out), then NULL. Nothing
 * waits; without events (NULL) nothing happens. */
void event_emit(Manager *m, EventType type, const char *ns, const char *id, const char *object, ...)
        __attribute__((sentinel));
void event_container(const Container *c, EventType type);
void event_process(const Process *p, EventType type);
void event_task(const Task *t, EventType type);
void event_exec(const Exec *e, EventType type);
void event_failed(const Process *p, int r, const sd_bus_error *error); /* it was not started, and why */

/* a kill or a refused call, as the shim numbers them */
#define EVENT_NUMBER "TASK_EVENT_NUMBER"

/* what the last manager has told, event-memory.c; until events_recovered() a second telling of the same is dropped */
void events_known(Manager *m, EventType type, const char *ns, const char *id, const char *exec_id);
uint64_t events_number(Manager *m, EventType type, const char *ns, const char *id); /* EVENT_NUMBER of the last told */
void events_recovered(Manager *m);

/* bus face, event-bus.c */
int method_open_events(sd_bus_message *m, void *userdata, sd_bus_error *error);
