/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Options of a container where they and the manager's words differ. The manager and a configuration name a limit, or
 * another property, otherwise than the option that was typed, and an error is to name what was typed: only where that
 * option was given, since a configuration of the user's own is told of in its own words. And --memory-swap is memory
 * and swap together, as other container tools have it, while the manager takes swap alone. Which values are good is not
 * known here.
 */

#include "ctl/resource.h"

#include <ctype.h>

#include "ctl/text.h"

#define OCI "linux.resources."

static const struct {
        const char *option, *names[3];
} resources[] = {
        { "memory", { "MemoryMax", OCI "memory.limit", OCI "unified.memory.max" } },
        { "memory-high", { "MemoryHigh", OCI "unified.memory.high" } },
        { "memory-low", { "MemoryLow", OCI "unified.memory.low" } },
        { "memory-swap", { "MemorySwapMax", OCI "unified.memory.swap.max" } },
        { "cpus", { "CPUQuotaPerSecUSec", OCI "cpu.quota", OCI "unified.cpu.max" } },
        { "cpu-weight", { "CPUWeight", OCI "unified.cpu.weight" } },
        { "cpuset-cpus", { "AllowedCPUs", OCI "unified.cpuset.cpus" } },
        { "io-weight", { "IOWeight", OCI "unified.io.weight" } },
        { "pids-limit", { "TasksMax", OCI "pids.limit", OCI "unified.pids.max" } },
        { "cgroup-conf", { OCI "unified." } }, /* and the file */
        { "workdir", { "WorkingDir", "process.cwd" } },
        { "user", { "User", "process.user.username" } },
        { "hostname", { "Hostname", "hostname" } },
        { "network", { "Network" } },
        { "cap-add", { "CapAdd" } },
        { "cap-drop", { "CapDrop" } },
        { "rootfs", { "Rootfs" } },
        { "stop-signal", { "StopSignal" } },
        { "seccomp-report", { "SeccompReport" } },
        { "spec-patch", { "JSON" } },
};

_Static_assert(ELEMENTSOF(resources) <= 32, "a bit of Ctl.resources each");

/** resource_given() - notes that an option was given; one that is not among these is not noted. */
void resource_given(Ctl *ctl, const char *option) {
        for (size_t i = 0; i < ELEMENTSOF(resources); i++)
                if (streq(resources[i].option, option))
                        ctl->resources |= UINT32_C(1) << i;
}

/** resource_said() - the option that a sentence of the manager's begins with in other words, and the size of those;
 * NULL: it begins with no option that was given. */
const char *resource_said(const Ctl *ctl, const char *sentence, size_t *ret_size) {
        for (size_t i = 0; i < ELEMENTSOF(resources); i++)
                for (size_t k = 0; k < ELEMENTSOF(resources[i].names) && resources[i].names[k]; k++) {
                        size_t n = strlen(resources[i].names[k]);

                        if (!(ctl->resources & UINT32_C(1) << i) || strncmp(sentence, resources[i].names[k], n) != 0)
                                continue;
                        if (sentence[n - 1] != '.' && (isalnum((unsigned char)sentence[n]) || sentence[n] == '.'))
                                continue;
                        *ret_size = n;
                        return resources[i].option;
                }
        return NULL;
}

/** resource_size() - a size, or "max" or "-1", which are no limit. 0 or an exit status. */
int resource_size(Ctl *ctl, const char *s, uint64_t *ret) {
        *ret = NO_LIMIT;
        if (streq(s, "max") || streq(s, "-1") || parse_size(s, ret))
                return 0;
        return ctl_error(ctl, _("'%s' is no size; give one such as 64m or 2g, or max for no limit"), s);
}

/** resource_pids() - a number of processes, or "max" or "-1", which are no limit. 0 or an exit status. */
int resource_pids(Ctl *ctl, const char *s, uint64_t *ret) {
        *ret = NO_LIMIT;
        if (streq(s, "max") || streq(s, "-1") || (parse_unsigned(s, UINT32_MAX, ret) && *ret > 0))
                return 0;
        return ctl_error(ctl, _("'%s' is no limit of processes; give a number from 1, or max for no limit"), s);
}

/**
 * resource_swap() - from memory and swap together to swap alone.
 * @has_memory, @memory: the limit of memory that was given with it.
 *
 * Returns 0 or an exit status.
 */
int resource_swap(Ctl *ctl, bool has_memory, uint64_t memory, uint64_t *swap) {
        if (*swap == NO_LIMIT)
                return 0;
        if (!has_memory || memory == NO_LIMIT)
                return ctl_error(ctl,
                                 _("--memory-swap is memory and swap together; say with --memory how much is memory"));
        if (*swap < memory)
                return ctl_error(ctl, _("--memory-swap is memory and swap together, so at least as much as --memory"));
        *swap -= memory;
        return 0;
}
