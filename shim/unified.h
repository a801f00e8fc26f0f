/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of cgroup v2 that no unit property stands for, in the container's own group: at the start, and changed later.
 */

#include "shared/plan.h"
#include "shim/cgroup.h"
#include "shim/fault.h"

/* What the last change has replaced: name, value, a NUL after each, in the order of the change. */
struct unified_undo {
        char *text; /* owned */
        size_t size;
};

int unified_apply(struct cgroup *c, const struct plan *plan, struct fault *fault);
int unified_change(struct cgroup *c, struct unified_undo *undo, int fd, struct fault *fault);
int unified_take_back(struct cgroup *c, struct unified_undo *undo, struct fault *fault);
