/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is opened and written for a container's first process by the one who clones it. */

#include "shim/setup.h"

int setup_open(struct setup *su, const struct plan *plan, struct fault *fault);
int setup_namespaces(struct setup *su, uint64_t *flags, struct fault *fault);
int setup_join(struct setup *su, struct fault *fault);
int setup_map(struct setup *su, pid_t pid, int sock, struct fault *fault);
void setup_close(struct setup *su);
