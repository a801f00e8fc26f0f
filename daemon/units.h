/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Client of systemd's manager: transient scopes, their jobs and properties. Every call is asynchronous. */

#include "daemon/manager.h"

typedef struct UnitCall UnitCall;

typedef struct ScopeRequest {
        const char *name;
        const char *slice;
        const char *description;
        uint32_t pid;
        int pidfd; /* of the same process; -1 where there is none */
        uint64_t timeout_stop_usec;
        GPtrArray *properties; /* PlanUnitProperty, may be NULL */
} ScopeRequest;

/* r: 0, or a negative errno with error saying more. Called once, never from inside the call that made it. */
typedef void (*unit_handler_t)(int r, const sd_bus_error *error, void *userdata);

int units_new(Manager *m, Units **ret);
Units *units_free(Units *u);

int units_start_scope(Units *u, const ScopeRequest *request, unit_handler_t handler, void *userdata, UnitCall **ret);
/* units_set_properties(), told when the kernel has them */
int units_change_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                            UnitCall **ret);
/* what a unit has now, into properties, whose values are replaced; what it does not have goes */
int units_read_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                          UnitCall **ret);
uint64_t units_default_tasks_max(const Units *u);
int units_set_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                         UnitCall **ret);
void units_stop(Units *u, const char *unit); /* nobody waits; a unit that is gone is fine */
void units_kill(Units *u, const char *unit); /* the same, without asking what is in it */
void unit_call_cancel(UnitCall *c);          /* the handler will not be called; NULL is fine */

/* Names of the active units that match a pattern ("davit-*.scope"), with their cgroup; for recovery. */
typedef void (*units_list_handler_t)(int r, char **units, void *userdata);
int units_list(Units *u, const char *pattern, units_list_handler_t handler, void *userdata);
