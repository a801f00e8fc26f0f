/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A task's scope as files: where its directories are, and what limits stand in them.
 *
 * The names follow from namespace and id, so nobody is asked. Reading a file of a cgroup takes microseconds and waits
 * for nothing but the kernel; the shim does not read them, because it lives inside the limits that are told of. Nothing
 * here writes: the scope's files are systemd's.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/scope.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/name.h"

#define DAVIT_SLICE "davit.slice"
#define CPU_WEIGHT_DEFAULT 100U
#define SHORT 2048U /* against a page */

/* Version 1 hierarchies by place; the largest limit there is one page short of 2^63. */
static const char *const version1[_SCOPE_PLACE_MAX] = {
        [SCOPE_UNIFIED] = "unified", [SCOPE_MEMORY] = "memory", [SCOPE_CPU] = "cpu",
        [SCOPE_PIDS] = "pids",       [SCOPE_IO] = "blkio",
};
#define VERSION1_NO_LIMIT (INT64_MAX / 65536 * 65536)

/** scope_version1() - whether the files of this place have the names of version 1 */
bool scope_version1(const Task *t, ScopePlace place) {
        return place != SCOPE_UNIFIED && limits_hybrid(t->ns->manager->limits);
}

/** scope_path() - the scope's directory; free it */
char *scope_path(const Task *t, ScopePlace place) {
        bool hybrid = limits_hybrid(t->ns->manager->limits);
        char slice[NAME_UNIT_MAX];

        if (name_slice(t->ns->name, slice) < 0)
                return NULL;
        return g_strconcat("/sys/fs/cgroup/", hybrid ? version1[place] : "", hybrid ? "/" : "", DAVIT_SLICE "/", slice,
                           "/", t->scope, NULL);
}

/** scope_open() - the same, open */
int scope_open(const Task *t, ScopePlace place) {
        g_autofree char *path = scope_path(t, place);
        int fd;

        if (!path)
                return -EINVAL;
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/** scope_read() - a file as text
 *
 * The kernel makes a page of such a file at a time, of whole lines, so what is much shorter than a page is all there
 * is: nothing else is asked, because a list of a thousand tasks is fourteen thousand files.
 */
char *scope_read(int dir, const char *name) {
        _cleanup_close_ int fd = -1;
        char text[SCOPE_FILE_MAX];
        size_t size = 0;
        ssize_t n;

        fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        do {
                n = fd < 0 ? -1 : read(fd, text + size, sizeof(text) - size);
                size += n > 0 ? (size_t)n : 0;
        } while (n > 0 && size > SHORT && size < sizeof(text));
        return n < 0 || size == sizeof(text) ? NULL : g_strndup(text, size);
}

/** scope_parse_number() - "max" or decimal digits at the beginning of a text */
bool scope_parse_number(const char *p, uint64_t *ret) {
        if (g_str_has_prefix(p, "max")) {
                *ret = SCOPE_NO_LIMIT;
                return true;
        }
        if (!g_ascii_isdigit(*p))
                return false;
        *ret = g_ascii_strtoull(p, NULL, 10);
        return true;
}

/** scope_read_number() - a file that holds one number */
bool scope_read_number(int dir, const char *name, uint64_t *ret) {
        _cleanup_free_ char *text = scope_read(dir, name);

        return text && scope_parse_number(text, ret);
}

/** scope_find_number() - a number in a file of keys */
bool scope_find_number(const char *text, const char *key, uint64_t *ret) {
        size_t n = strlen(key);

        for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strncmp(p, key, n) == 0 && p[n] == ' ')
                        return scope_parse_number(p + n + 1, ret);
        return false;
}

/** scope_populated() - whether something runs in a scope, wherever below it; true also where nobody can tell */
bool scope_populated(const char *path) {
        _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        uint64_t populated;

        if (dir < 0 && errno == ENOENT)
                return false;
        text = scope_read(dir, "cgroup.events");
        return !text || !scope_find_number(text, "populated", &populated) || populated > 0;
}

/** scope_limits_init() - what holds where nobody has set anything; tasks_max: systemd's default */
void scope_limits_init(ScopeLimits *l, uint64_t tasks_max) {
        *l = (ScopeLimits){
                .memory_max = SCOPE_NO_LIMIT,
                .memory_high = SCOPE_NO_LIMIT,
                .memory_low = 0,
                .memory_swap_max = SCOPE_NO_LIMIT,
                .cpu_quota_per_sec_usec = SCOPE_NO_LIMIT,
                .cpu_quota_period_usec = SCOPE_NO_LIMIT,
                .cpu_weight = CPU_WEIGHT_DEFAULT,
                .io_weight = CPU_WEIGHT_DEFAULT,
                .tasks_max = tasks_max,
        };
}

/* Quota and period in one file, or in two of version 1. */
static void read_quota(int dir, bool v1, ScopeLimits *l) {
        _cleanup_free_ char *text = scope_read(dir, v1 ? "cpu.cfs_quota_us" : "cpu.max");
        uint64_t quota, period;
        const char *space;

        if (!text)
                return;
        space = strchr(text, ' ');
        if (v1 ? !scope_read_number(dir, "cpu.cfs_period_us", &period)
               : !space || !scope_parse_number(space + 1, &period))
                return;
        if (!scope_parse_number(text, &quota)) /* version 1 has -1 */
                quota = SCOPE_NO_LIMIT;
        l->cpu_quota_period_usec = period;
        l->cpu_quota_per_sec_usec =
                quota == SCOPE_NO_LIMIT || period == 0 ? SCOPE_NO_LIMIT : quota * USEC_PER_SEC / period;
}

static void read_io_weight(int dir, ScopeLimits *l) {
        _cleanup_free_ char *text = scope_read(dir, "io.weight");

        if (text)
                (void)scope_find_number(text, "default", &l->io_weight);
}

static void read_cpus(int dir, ScopeLimits *l) {
        _cleanup_free_ char *text = scope_read(dir, "cpuset.cpus");

        if (text)
                (void)g_strlcpy(l->allowed_cpus, g_strchomp(text), sizeof(l->allowed_cpus));
}

static void read_unified(int dir, ScopeLimits *l) {
        const struct {
                const char *name;
                uint64_t *to;
        } files[] = {
                { "memory.max", &l->memory_max }, { "memory.high", &l->memory_high },
                { "memory.low", &l->memory_low }, { "memory.swap.max", &l->memory_swap_max },
                { "cpu.weight", &l->cpu_weight }, { "pids.max", &l->tasks_max },
        };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                (void)scope_read_number(dir, files[i].name, files[i].to);
        read_quota(dir, false, l);
        read_io_weight(dir, l);
        read_cpus(dir, l);
}

/* systemd's own conversion between weights and shares is this one, with 1024 for 100. */
static void read_version1(const Task *t, ScopeLimits *l) {
        _cleanup_close_ int memory = scope_open(t, SCOPE_MEMORY), cpu = scope_open(t, SCOPE_CPU),
                            pids = scope_open(t, SCOPE_PIDS);
        uint64_t shares;

        if (scope_read_number(memory, "memory.limit_in_bytes", &l->memory_max) && l->memory_max >= VERSION1_NO_LIMIT)
                l->memory_max = SCOPE_NO_LIMIT;
        (void)scope_read_number(pids, "pids.max", &l->tasks_max);
        if (scope_read_number(cpu, "cpu.shares", &shares))
                l->cpu_weight = CLAMP(shares * CPU_WEIGHT_DEFAULT / 1024, 1, 10000);
        if (cpu == -ENOENT) { /* systemd has let go of the group, and of its limits */
                l->cpu_weight = CPU_WEIGHT_DEFAULT;
                l->cpu_quota_per_sec_usec = l->cpu_quota_period_usec = SCOPE_NO_LIMIT;
        }
        read_quota(cpu, true, l);
}

/** scope_limits_read() - what the kernel has now */
void scope_limits_read(const Task *t, ScopeLimits *l) {
        _cleanup_close_ int dir = -1;

        if (scope_version1(t, SCOPE_MEMORY)) {
                read_version1(t, l);
                return;
        }
        dir = scope_open(t, SCOPE_UNIFIED);
        if (dir >= 0)
                read_unified(dir, l);
}

/** scope_limits_apply() - takes over the values of unit properties that systemd is being asked for */
void scope_limits_apply(ScopeLimits *l, GPtrArray *properties) {
        const struct {
                const char *name;
                uint64_t *to;
        } known[] = {
                { "MemoryMax", &l->memory_max },
                { "MemoryHigh", &l->memory_high },
                { "MemoryLow", &l->memory_low },
                { "MemorySwapMax", &l->memory_swap_max },
                { "CPUQuotaPerSecUSec", &l->cpu_quota_per_sec_usec },
                { "CPUQuotaPeriodUSec", &l->cpu_quota_period_usec },
                { "CPUWeight", &l->cpu_weight },
                { "IOWeight", &l->io_weight },
                { "TasksMax", &l->tasks_max },
        };

        for (guint i = 0; properties && i < properties->len; i++) {
                const PlanUnitProperty *p = g_ptr_array_index(properties, i);

                for (size_t k = 0; k < ELEMENTSOF(known); k++)
                        if (streq(known[k].name, p->name) && g_variant_is_of_type(p->value, G_VARIANT_TYPE_UINT64))
                                *known[k].to = g_variant_get_uint64(p->value);
        }
}
