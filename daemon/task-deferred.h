/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tasks that are created from a checkpoint: there, without a shim, until they are started. */

#include "daemon/stdio.h"
#include "daemon/task.h"

typedef struct Deferred Deferred;

/* Container.CreateTask with Checkpoint. at_once: by the call that starts it too, so nobody sees it before it runs. */
int task_defer(Container *c, Options *o, bool at_once, Task **ret, sd_bus_error *error);
int task_deferred_start(Task *t, task_done_t done, void *userdata, sd_bus_error *error);
void task_deferred_started(Task *t); /* it is a task like any other now */
bool task_deferred_uses(const Task *t, const char *checkpoint);
int task_deferred_check(const Task *t, sd_bus_error *error); /* whether it has been started */
const Stdio *task_deferred_stdio(const Task *t);
Deferred *deferred_free(Deferred *d);

void task_deferred_forget(Task *t);

/* launch-begin.c: the start itself; what it takes out of q is its own. It begins with the task as it is, and on failure
 * ends so, but for one that is at_once. */
typedef struct TaskRestore {
        int images;      /* descriptor of the checkpoint's */
        JsonNode *spec;  /* borrowed */
        bool other_spec; /* it is not the container's own */
        Stdio stdio;
} TaskRestore;
int task_restore(Task *t, TaskRestore *q, task_done_t done, void *userdata, sd_bus_error *error);
int task_effective_spec(Container *c, uint32_t width, uint32_t height, JsonNode **ret, sd_bus_error *error);
int task_check_first(const Container *c, sd_bus_error *error);

/* what the last manager has left */
void task_deferred_recover(Container *c); /* its start was cut off and is undone */
void tasks_deferred_recover(Manager *m);  /* once, when the shims have answered */
