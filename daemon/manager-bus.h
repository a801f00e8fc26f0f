/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus face of the manager itself. */

#include "daemon/manager.h"

int manager_bus_register(Manager *m);

/* manager-list.c: the methods that list many at once */
int method_list_containers(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_tasks(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_namespaces(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* which objects such a method is asked for */
typedef struct ListFilters {
        char **ids, **labels, **statuses, *image;
} ListFilters;

bool list_task_wanted(const void *object, const void *filters);

/* check.c, why-bus.c */
int method_check_store(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_why_kept(sd_bus_message *m, void *userdata, sd_bus_error *error);
