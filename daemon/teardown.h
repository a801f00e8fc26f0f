/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is left of a task whose object has gone: a shim that cleans up, a scope, a directory. */

#include "daemon/task.h"

typedef struct Teardown Teardown;
typedef void (*teardown_done_t)(void *userdata);

void teardown_start(Task *t, bool discard, teardown_done_t done, void *userdata); /* takes the task's link */
bool teardown_wait(Manager *m, const char *ns, const char *id, teardown_done_t done,
                   void *userdata);               /* false: nothing to wait for */
void teardown_forget(Manager *m, void *userdata); /* nobody with this userdata is called any more */
GPtrArray *teardown_array_new(void);
