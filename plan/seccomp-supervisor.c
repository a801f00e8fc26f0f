/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The filter for the shim itself, once its container runs.
 *
 * Every exec inherits it, so it must never refuse what the container's own filter allows. It is
 * a deny list: calls that change the host or have a history of kernel bugs, that a shim never makes
 * and that the container's profile refuses whatever the arguments. A profile that allows by default
 * gives none. What stopping, reaping, records and exec need is not on the list to begin with.
 * What is on it asks a listener that does not exist, which the kernel answers with ENOSYS: the mildest
 * refusal there is, beside which the container's own filter is heard.
 */

#include <linux/seccomp.h>
#include <string.h>

#include "plan/seccomp.h"

static const char *const refused[] = {
        "_sysctl",
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "clock_settime64",
        "create_module",
        "delete_module",
        "fanotify_init",
        "finit_module",
        "get_kernel_syms",
        "get_mempolicy",
        "init_module",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_file_load",
        "kexec_load",
        "lookup_dcookie",
        "lsm_set_self_attr",
        "mbind",
        "migrate_pages",
        "move_pages",
        "nfsservctl",
        "open_by_handle_at",
        "perf_event_open",
        "pidfd_getfd",
        "pivot_root",
        "process_madvise",
        "query_module",
        "quotactl",
        "quotactl_fd",
        "reboot",
        "request_key",
        "set_mempolicy",
        "set_mempolicy_home_node",
        "setdomainname",
        "sethostname",
        "settimeofday",
        "stime",
        "swapoff",
        "swapon",
        "sysfs",
        "syslog",
        "uselib",
        "userfaultfd",
        "ustat",
        "vhangup",
        "vm86",
        "vm86old",
};

static gboolean denies(guint32 action) {
        switch (action & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_KILL_PROCESS:
        case SECCOMP_RET_KILL_THREAD:
        case SECCOMP_RET_TRAP:
        case SECCOMP_RET_ERRNO:
                return TRUE;
        default:
                return FALSE;
        }
}

static gboolean allows_some(const SeccompProfile *container, const char *name) {
        for (guint i = 0; i < container->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(container->rules, SeccompRule, i);

                if (!denies(rule->action) && g_str_equal(rule->name, name))
                        return TRUE;
        }
        return FALSE;
}

/**
 * seccomp_profile_supervisor() - The shim's profile beside a container's.
 * @ret: initialised here in any case
 *
 * Returns FALSE when there is nothing to refuse. Where both filters of an exec refuse a call, the
 * container's answer is taken: it is stricter, or as strict and newer.
 */
gboolean seccomp_profile_supervisor(const SeccompProfile *container, SeccompProfile *ret) {
        seccomp_profile_init(ret, SECCOMP_RET_ALLOW);
        ret->arches |= 1U << SECCOMP_ARCH_X86 | 1U << SECCOMP_ARCH_X32;
        if (!denies(container->default_action))
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
                SeccompRule rule = { .name = refused[i], .action = SECCOMP_RET_USER_NOTIF };

                if (!allows_some(container, refused[i]))
                        seccomp_profile_add(ret, &rule);
        }
        return ret->rules->len > 0;
}

/** seccomp_supervisor_hash() - Adds the list above. */
void seccomp_supervisor_hash(GChecksum *checksum) {
        for (gsize i = 0; i < G_N_ELEMENTS(refused); i++)
                g_checksum_update(checksum, (const guchar *)refused[i], (gssize)strlen(refused[i]) + 1);
}
