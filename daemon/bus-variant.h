/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The border between GVariant and sd-bus messages. */

#include <glib.h>
#include <systemd/sd-bus.h>

int bus_append_variant(sd_bus_message *m, GVariant *value);
int bus_read_variant(sd_bus_message *m, GVariant **ret); /* the next value */
