/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Capabilities.
 *
 * The bounding set is narrowed first, while the process may still do that; after the change of user the other four sets
 * become exactly what the plan says. Inheritable and ambient are empty unless it says otherwise.
 */

#include <sys/prctl.h>

#include "shared/syscalls.h"
#include "shim/capability.h"
#include "shim/setup.h"

#define CAPABILITY_MAX 63

/** capability_set() - make the sets of the calling process what they are given as */
int capability_set(capset effective, capset permitted, capset inheritable) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        for (unsigned i = 0; i < 2; i++)
                data[i] = (struct __user_cap_data_struct){
                        .effective = (uint32_t)(effective >> (32 * i)),
                        .permitted = (uint32_t)(permitted >> (32 * i)),
                        .inheritable = (uint32_t)(inheritable >> (32 * i)),
                };
        return sys_capset(&header, data) < 0 ? -errno : 0;
}

/** capability_get() - the permitted set of the calling process */
int capability_get(capset *ret_permitted) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (sys_capget(&header, data) < 0)
                return -errno;
        *ret_permitted = (capset)data[0].permitted | (capset)data[1].permitted << 32;
        return 0;
}

/** capability_bound() - narrow the bounding set to the plan's, and keep capabilities over a change of user */
int capability_bound(struct setup *s) {
        capset bounding = s->plan->flags & PLAN_CAPABILITIES ? s->plan->process.cap_bounding : 0;

        for (int c = 0; c <= CAPABILITY_MAX; c++) {
                if (bounding & (capset)1 << c)
                        continue;
                if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0) {
                        if (errno == EINVAL) /* beyond the last one the kernel knows */
                                break;
                        return fault_set(s->fault, SHIM_STEP_CAPABILITY, errno, "bounding set without capability %d",
                                         c);
                }
        }
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_CAPABILITY, errno, "keep capabilities");
        return 0;
}

static int capability_missing(capset have, capset want) {
        for (int c = 0; c <= CAPABILITY_MAX; c++)
                if (want & ~have & (capset)1 << c)
                        return c;
        return -1;
}

/** capability_apply() - set the effective, permitted, inheritable and ambient sets
 *
 * @keep_admin: leave CAP_SYS_ADMIN until a seccomp filter without no_new_privs has been loaded; called again without it
 * then.
 */
int capability_apply(struct setup *s, bool keep_admin) {
        const struct plan_process *p = &s->plan->process;
        bool given = s->plan->flags & PLAN_CAPABILITIES;
        capset extra = keep_admin ? (capset)1 << CAP_SYS_ADMIN : 0;
        capset effective = given ? p->cap_effective : 0, permitted = given ? p->cap_permitted : 0;
        capset inheritable = given ? p->cap_inheritable : 0, ambient = given ? p->cap_ambient : 0, have = 0;
        int r, missing;

        r = capability_get(&have);
        if (r < 0)
                return fault_set(s->fault, SHIM_STEP_CAPABILITY, r, "capabilities");
        if (s->plan->flags & PLAN_CAPABILITIES_AT_MOST) {
                effective &= have;
                permitted &= have;
                inheritable &= have;
                ambient &= permitted & inheritable;
        }
        missing = capability_missing(have, permitted | effective);
        if (missing >= 0)
                return fault_set(s->fault, SHIM_STEP_CAPABILITY, EPERM, "capability %d is not to be had on this host",
                                 missing);
        r = capability_set(effective | extra, permitted | extra, inheritable);
        if (r < 0)
                return fault_set(s->fault, SHIM_STEP_CAPABILITY, r, "capability sets");
        for (int c = 0; c <= CAPABILITY_MAX; c++)
                if ((ambient & (capset)1 << c) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
                        return fault_set(s->fault, SHIM_STEP_CAPABILITY, errno, "ambient capability %d", c);
        return 0;
}
