/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Scopes of systemd's, one a container. */

#include "oci/state.h"
#include "plan/build.h"

gboolean scope_start(State *state, const char *slice, pid_t pid, GPtrArray *properties, GError **error);
gboolean scope_set(State *state, GPtrArray *properties, GError **error);
void scope_stop(State *state);
