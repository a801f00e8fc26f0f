/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a task uses now, read from its scope. */

#include <systemd/sd-bus.h>

#include "daemon/scope.h"

typedef enum StatsPart {
        STATS_CPU = 1 << 0,
        STATS_MEMORY = 1 << 1,
        STATS_IO = 1 << 2,
        STATS_TASKS = 1 << 3,
        STATS_PRESSURE = 1 << 4,
        STATS_ALL = (1 << 5) - 1,
} StatsPart;

unsigned stats_part_from_name(const char *name); /* 0: none of ours */

/* Appends the a{sv} of a task's statistics; what the host does not count is left out. */
int stats_append(sd_bus_message *m, const Task *t, unsigned parts);

/* bus face, stats-bus.c */
int method_task_stats(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_stats(sd_bus_message *m, void *userdata, sd_bus_error *error);
