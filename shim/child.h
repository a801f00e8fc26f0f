/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Cloning of the container's first process and of execs. */

#include <stdint.h>

#include "shim/setup.h"
#include "shim/shim.h"

int child_clone(struct process *p, struct setup *su, uint64_t flags, int cgroup_fd);
int child_oom_score(struct shim *s, struct process *p, const struct plan *plan, struct fault *fault);
int plan_map(int fd, uint32_t kind, const struct plan **ret, struct fault *fault);
const char *plan_identifier(const struct plan *plan);
