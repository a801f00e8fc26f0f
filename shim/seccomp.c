/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Loads a compiled seccomp filter.
 *
 * The filter is compiled by plan/ and only handed to the kernel here, which checks the program itself.
 */

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/setup.h"

/** filter_load() - put the calling process, and all it becomes, under @filter of @plan; nothing happens when that is
 * empty
 *
 * Return: 0, with SECCOMP_FILTER_FLAG_NEW_LISTENER the listener's descriptor, or a negative errno with the fault set.
 */
int filter_load(struct fault *fault, const struct plan *plan, const struct plan_seccomp *filter) {
        struct sock_fprog program = {
                .len = (unsigned short)filter->program.n,
                .filter = (struct sock_filter *)plan_array(plan, filter->program),
        };

        int r;

        if (program.len == 0)
                return 0;
        r = sys_seccomp(SECCOMP_SET_MODE_FILTER, filter->flags, &program);
        return r < 0 ? fault_set(fault, SHIM_STEP_SECCOMP, errno, "seccomp filter") : r;
}
