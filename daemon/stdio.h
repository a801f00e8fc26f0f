/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process gets as stdin, stdout, stderr and from descriptor 3 on, decided from options. */

#include "daemon/options.h"
#include "shared/shim-protocol.h"

/* Appends the descriptors that go to the shim to fds (int) and takes them out of the options. */
int stdio_prepare(Options *o, bool terminal, struct shim_stdio *ret, GArray *fds, sd_bus_error *error);
