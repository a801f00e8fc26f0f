/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus face of snapshots: org.davit.Davit1.Snapshot and the Manager's methods about snapshots. */

#include "daemon/event.h"
#include "daemon/snapshot.h"

extern const struct ObjectTable snapshot_objects;

int snapshot_bus_register(Manager *m);

/* methods of Manager, snapshot-manager-bus.c; userdata is the Manager */
int method_prepare_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_get_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* what snapshot.c says; nothing happens without Manager.bus */
void snapshot_event(const Snapshot *s, EventType type);
void snapshot_bus_added(Snapshot *s);
void snapshot_bus_removed(Snapshot *s);
void snapshot_bus_changed(Snapshot *s); /* labels */
