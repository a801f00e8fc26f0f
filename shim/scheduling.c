/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scheduler, I/O priority and execution domain of the plan.
 *
 * Set by the process itself while it still has the host's rights; what the kernel refuses fails the process, for nobody
 * asks for a real-time policy to get another.
 */

#include <linux/ioprio.h>
#include <sys/personality.h>

#include "shared/syscalls.h"
#include "shim/setup.h"

/** scheduling_set() - set what the plan has of them for the calling process */
int scheduling_set(struct setup *s) {
        const struct plan_scheduler *p = &s->plan->process.scheduler;
        struct sys_sched_attr attr = {
                .size = sizeof(attr),
                .policy = p->policy,
                .flags = p->flags,
                .nice = p->nice,
                .priority = p->priority,
                .runtime = p->runtime,
                .deadline = p->deadline,
                .period = p->period,
        };

        if ((s->plan->flags & PLAN_SCHEDULER) && sys_sched_setattr(0, &attr, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "process.scheduler");
        if ((s->plan->flags & PLAN_IO_PRIORITY) &&
            sys_ioprio_set(IOPRIO_WHO_PROCESS, 0, (int)s->plan->process.io_priority) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "process.ioPriority");
        if ((s->plan->flags & PLAN_PERSONALITY) && personality(s->plan->personality) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "linux.personality");
        return 0;
}
