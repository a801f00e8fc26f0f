/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Containers joined with their tasks, as ps shows them. */

#include "ctl/bus.h"

typedef struct Container {
        const char *ns, *id, *image, *object; /* borrowed from the replies, as all strings here */
        char **command;                       /* owned */
        Strv labels;                          /* key, value, key, value, ...; owned */
        uint64_t created;
        bool has_task;
        const char *status, *kind; /* of the task; status "created" where there is none */
        uint32_t pid, exit_status;
        uint64_t exited_at, started_at;
} Container;

typedef struct Containers {
        Container *v;
        size_t n;
        Call containers_call, tasks_call;
} Containers;

typedef struct Filters {
        Strv ids, labels, statuses;
        const char *image;
} Filters;

#define _cleanup_containers_ _cleanup_(containers_clear)

int containers_list(Ctl *ctl, const char *ns, const Filters *filters, Containers *ret);
void containers_clear(Containers *containers);
