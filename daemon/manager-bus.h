/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus face of the manager itself. */

#include "daemon/manager.h"

int manager_bus_register(Manager *m);

/* manager-list.c: the methods that list many at once */
int method_list_containers(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_tasks(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_namespaces(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* check.c, why-bus.c */
int method_check_store(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_why_kept(sd_bus_message *m, void *userdata, sd_bus_error *error);
