/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Terminals: handed to a caller's socket, or joined with our own. */

#include <json-glib/json-glib.h>
#include <sys/types.h>

#include "oci/oci.h"

void console_size(JsonObject *process); /* begins with the size of our own terminal */
gboolean console_send(const char *path, int master, GError **error);
int console_relay(int master, int pidfd); /* until the process has ended; 0 or a negative errno */
void signals_hold(void);
int signals_relay(int pidfd);
