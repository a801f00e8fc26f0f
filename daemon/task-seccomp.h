/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* System calls of a task that its filter has refused. */

#include "daemon/task.h"
#include "shared/violation.h"

/* One of them, with its names. */
typedef struct TaskViolation {
        const struct shim_violation *shim;
        const char *name, *arch, *action;
} TaskViolation;

void task_violation(Task *t, const struct shim_violation *e);
void task_violation_recover(Task *t); /* what a shim that has gone has left behind */
void task_bus_violation(Task *t, const TaskViolation *v); /* task-bus.c */
