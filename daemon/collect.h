/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Collection: what nothing needs any more leaves the store. One at Manager.collector. */

#include <json-glib/json-glib.h>
#include <systemd/sd-bus.h>

#include "daemon/manager.h"

#define IMAGE_REMOVALS_KIND "removals" /* records of images whose space is still to be freed */

int collector_new(Manager *m, Collector **ret);
Collector *collector_free(Collector *c);
/* once, when every namespace is loaded; n_broken: sum of images_load() and snapshots_load() */
void collector_start(Collector *c, unsigned n_broken);
bool collector_busy(const Collector *c);
void collector_pump(Collector *c);
JsonArray *collector_live_chains(Collector *c);

/* call: answered when the space is free; NULL: nobody waits */
int collect_removed(Collector *c, const char *ns, const char *name, sd_bus_message *call);
void collector_forget(Collector *c, const char *ns, const char *name);
bool collect_pending(Manager *m, const char *ns);
