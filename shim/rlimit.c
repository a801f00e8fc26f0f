/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Resource limits of the plan.
 *
 * A limit that was asked for and cannot be set fails the process; none is set that was not asked for, so that a
 * host that may raise nothing still runs what wants nothing.
 */

#include <sys/resource.h>

#include "shared/plan-check.h"
#include "shim/setup.h"

/** rlimits_set() - set the limits of the calling process, while it may still raise them */
int rlimits_set(struct setup *s) {
        const struct plan_rlimit *l = plan_array(s->plan, s->plan->process.rlimits);

        for (uint32_t i = 0; i < s->plan->process.rlimits.n; i++) {
                struct rlimit limit = { .rlim_cur = l[i].soft, .rlim_max = l[i].hard };

                if (setrlimit((__rlimit_resource_t)l[i].resource, &limit) < 0)
                        return fault_set(s->fault, SHIM_STEP_RLIMIT, errno, "resource limit %u to %llu:%llu",
                                         l[i].resource, (unsigned long long)l[i].soft, (unsigned long long)l[i].hard);
        }
        return 0;
}
