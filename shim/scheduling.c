/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scheduler, I/O priority, memory policy, CPUs and execution domain of the plan.
 *
 * Set by the process itself while it still has the host's rights; what the kernel refuses fails the process, for nobody
 * asks for a real-time policy to get another.
 */

#include <linux/ioprio.h>
#include <string.h>
#include <sys/personality.h>

#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/setup.h"

static int memory_policy_set(struct setup *s) {
        struct plan_list nodes = s->plan->memory_nodes;

        if (!(s->plan->flags & PLAN_MEMORY_POLICY))
                return 0;
        /* the kernel takes one bit less than it is told */
        if (sys_set_mempolicy((int)s->plan->memory_mode, plan_array(s->plan, nodes),
                              nodes.n > 0 ? (unsigned long)nodes.n * 64 + 1 : 0) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "linux.memoryPolicy");
        return 0;
}

static int affinity_set(struct setup *s, struct plan_list cpus, const char *name) {
        if (cpus.n > 0 && sys_sched_setaffinity(0, cpus.n * sizeof(uint64_t), plan_array(s->plan, cpus)) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "process.execCPUAffinity.%s", name);
        return 0;
}

/** affinity_begin() - where an exec is to be before it is the container's */
int affinity_begin(struct setup *s) {
        return affinity_set(s, s->plan->process.affinity_initial, "initial");
}

/* Without a wish, wherever the group may be: the kernel takes what of all CPUs the group has. */
static int affinity_end(struct setup *s) {
        const struct plan_process *p = &s->plan->process;
        uint64_t all[PLAN_BITS_MAX / 64];

        if (s->plan->kind != PLAN_EXEC || p->affinity_final.n > 0 || p->affinity_initial.n == 0)
                return s->plan->kind == PLAN_EXEC ? affinity_set(s, p->affinity_final, "final") : 0;
        memset(all, 0xff, sizeof(all));
        if (sys_sched_setaffinity(0, sizeof(all), all) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "CPUs");
        return 0;
}

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
        int r;

        if ((s->plan->flags & PLAN_SCHEDULER) && sys_sched_setattr(0, &attr, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "process.scheduler");
        if ((s->plan->flags & PLAN_IO_PRIORITY) &&
            sys_ioprio_set(IOPRIO_WHO_PROCESS, 0, (int)s->plan->process.io_priority) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "process.ioPriority");
        if ((s->plan->flags & PLAN_PERSONALITY) && personality(s->plan->personality) < 0)
                return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "linux.personality");
        r = memory_policy_set(s);
        return r < 0 ? r : affinity_end(s);
}
