/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of capabilities, in the order of their numbers in linux/capability.h.
 *
 * Constant data, used by the default specification, by the plan's five sets and by the default
 * seccomp profile. What the running kernel knows is the shim's business, not looked at here.
 */

#include "plan/capabilities.h"

static const char *const names[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == CAPABILITY_LAST + 1);

/** capability_from_name() - The number of a capability, -1 for a name that is none. */
int capability_from_name(const char *name) {
        gboolean prefixed = g_ascii_strncasecmp(name, "CAP_", 4) == 0;

        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                if (g_ascii_strcasecmp(prefixed ? names[i] : names[i] + 4, name) == 0)
                        return (int)i;
        return -1;
}

/** capability_to_name() - The full name, NULL for a number that is none. */
const char *capability_to_name(int capability) {
        return capability >= 0 && capability <= CAPABILITY_LAST ? names[capability] : NULL;
}
