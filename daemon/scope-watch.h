/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Notices that somebody, systemctl set-property for one, has changed a running task's limits. */

#include "daemon/task.h"

int scope_watch_new(Manager *m, ScopeWatch **ret);
ScopeWatch *scope_watch_free(ScopeWatch *w);

void scope_watch_add(Task *t); /* when there is time for it */
void scope_watch_remove(Task *t);
void scope_watch_refresh(Task *t); /* reads now, and tells what is other */
void scope_watch_ensure(Task *t);  /* reads where nothing is known yet */
