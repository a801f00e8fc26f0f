/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Collection: what no root needs any more leaves the store. One at Manager.collector. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "daemon/job.h"
#include "daemon/manager.h"
#include "daemon/roots.h"

/* life */
int collector_new(Manager *m, Collector **ret);
Collector *collector_free(Collector *c);
/* once, when every namespace is loaded; n_broken: records that cannot be read, with any nothing is collected */
void collector_start(Collector *c, unsigned n_broken);

/* for whoever takes a root away: mark before it goes, schedule or wait when it has gone */
int collect_mark(Manager *m); /* durable: a manager that is killed in between leaves it to the next */
void collect_schedule(Manager *m);
/* schedules a collection if no root needs it any more; NULL and "" are fine */
void collect_orphan(Manager *m, RootKind kind, const char *target);
/* for whoever gives something a root that has none perhaps: Unavailable while a collection may be taking it */
int collect_check(Manager *m, RootKind kind, const char *target, sd_bus_error *error);
int collect_wait(Manager *m, sd_bus_message *call); /* schedule, and answer call when the space is free */

typedef struct CollectResult {
        uint64_t freed, objects;
        char **chains, **contents; /* that have gone */
} CollectResult;
typedef void (*collect_done_t)(const CollectResult *result, const sd_bus_error *error, void *userdata);
/* done: called once, when a collection that begins after this has ended, perhaps with an error before this returns; a
 * dry run changes nothing */
void collect_then(Manager *m, bool dry_run, collect_done_t done, void *userdata);
void collect_forget(Manager *m, void *userdata);
uint64_t collect_freed(const Manager *m); /* bytes, by all of them together */

/* methods of Manager; userdata is the Manager */
int method_collect(sd_bus_message *m, void *userdata, sd_bus_error *error);
