/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cgroup controllers of the host, read once at start.
 *
 * A limit whose controller does not exist would be accepted by systemd and enforced by nobody, so the manager asks
 * here first and refuses it by name. Unified hosts list theirs in cgroup.controllers; in the hybrid form each
 * version 1 hierarchy mounted below the cgroup root counts, except those systemd sets limits in the unified
 * hierarchy only for. Devices are decided by a BPF program in the unified hierarchy and need no controller there.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/limits.h"
#include "shared/fd.h"
#include "shared/log.h"

struct Limits {
        char **controllers;
        char **unified; /* of the unified hierarchy */
        bool hybrid;
};

/* name in version 1, name used here; cpuset is missing because systemd drives it in the unified hierarchy alone */
static const char *const version1[][2] = {
        { "memory", "memory" }, { "cpu", "cpu" }, { "pids", "pids" }, { "blkio", "io" }, { "devices", "devices" },
};

static bool is_cgroup2(const char *path) {
        struct statfs s;

        return statfs(path, &s) >= 0 && (unsigned long)s.f_type == CGROUP2_SUPER_MAGIC;
}

static bool enabled(const char *proc_cgroups, const char *name) {
        _cleanup_free_ char *text = NULL;
        g_auto(GStrv) lines = NULL;
        size_t size;

        if (file_read_at(AT_FDCWD, proc_cgroups, 64 * 1024, &text, &size) < 0)
                return false;
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++) {
                g_auto(GStrv) f = g_strsplit(*l, "\t", -1);
                if (g_strv_length(f) >= 4 && streq(f[0], name))
                        return f[3][0] == '1';
        }
        return false;
}

static void add_version1(const char *root, const char *proc_cgroups, GPtrArray *names) {
        for (size_t i = 0; i < ELEMENTSOF(version1); i++) {
                g_autofree char *path = g_strdup_printf("%s/%s/tasks", root, version1[i][0]);
                if (access(path, F_OK) >= 0 && enabled(proc_cgroups, version1[i][0]))
                        g_ptr_array_add(names, g_strdup(version1[i][1]));
        }
}

/* The words of cgroup.controllers. */
static int read_unified(const char *root, char ***ret) {
        g_autofree char *path = g_strconcat(root, "/cgroup.controllers", NULL);
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = file_read_at(AT_FDCWD, path, 4096, &text, &size);
        if (r >= 0)
                *ret = g_strsplit_set(text, " \n", -1);
        return r;
}

static int add_unified(const char *root, char ***unified, GPtrArray *names) {
        int r;

        r = read_unified(root, unified);
        if (r < 0)
                return r;
        for (char **w = *unified; *w; w++)
                if (**w)
                        g_ptr_array_add(names, g_strdup(*w));
        if (!g_ptr_array_find_with_equal_func(names, "devices", g_str_equal, NULL))
                g_ptr_array_add(names, g_strdup("devices"));
        return 0;
}

/** limits_new() - reads the controllers below cgroup_root ("/sys/fs/cgroup") and proc_cgroups ("/proc/cgroups") */
int limits_new(const char *cgroup_root, const char *proc_cgroups, Limits **ret) {
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        Limits *l = g_new0(Limits, 1);
        int r = 0;

        if (is_cgroup2(cgroup_root))
                r = add_unified(cgroup_root, &l->unified, names);
        else {
                g_autofree char *beside = g_strconcat(cgroup_root, "/unified", NULL);

                l->hybrid = true;
                add_version1(cgroup_root, proc_cgroups, names);
                (void)read_unified(beside, &l->unified);
        }
        if (r < 0)
                (void)log_warning_errno(
                        r, "Cannot read which cgroup controllers there are; resource limits will be refused");
        g_ptr_array_add(names, NULL);
        l->controllers = (char **)g_ptr_array_free(names, FALSE);
        *ret = l;
        return 0;
}

/** limits_free() - frees what limits_new() has made */
Limits *limits_free(Limits *l) {
        if (!l)
                return NULL;
        g_strfreev(l->controllers);
        g_strfreev(l->unified);
        g_free(l);
        return NULL;
}

/** limits_controllers() - the names, borrowed */
char **limits_controllers(const Limits *l) {
        return l->controllers;
}

/** limits_hybrid() - whether limits go to version 1 hierarchies */
bool limits_hybrid(const Limits *l) {
        return l->hybrid;
}

/** limits_enforced() - whether a limit of this controller would be enforced */
bool limits_enforced(const Limits *l, const char *controller) {
        return !controller || !*controller || g_strv_contains((const char *const *)l->controllers, controller);
}

/** limits_property_enforced() - the same of one property: of some, systemd knows nothing to write in version 1 */
bool limits_property_enforced(const Limits *l, const char *property, const char *controller) {
        static const char *const unified_only[] = { "MemoryHigh", "MemoryLow", "MemoryMin", "MemorySwapMax", NULL };

        return limits_enforced(l, controller) && !(l->hybrid && g_strv_contains(unified_only, property));
}

/** limits_unified() - whether the unified hierarchy has this controller */
bool limits_unified(const Limits *l, const char *controller) {
        return l->unified && g_strv_contains((const char *const *)l->unified, controller);
}
