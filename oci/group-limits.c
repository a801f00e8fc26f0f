/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources written into a container's cgroup, for the driver "cgroupfs" and for updates.
 *
 * Each limit is one file, of version 1 where its controller is mounted, else of version 2. A limit whose controller is
 * not there is an error that names the field: a limit that holds nobody is worse than none. Access to devices is in
 * group-devices.c. Files and conversions: config-linux.md "Control groups", Documentation/admin-guide/cgroup-v2.rst.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "oci/group-internal.h"
#include "plan/fields.h"
#include "shared/macros.h"
#include "shared/plan-check.h"

#define RESOURCES "linux.resources."

/* 0, -ENOENT when there is no such file, or a negative errno. */
static int write_file(State *state, const char *controller, const char *name, const char *value) {
        g_autofree char *directory = group_directory(state, controller), *path = NULL;
        _cleanup_close_ int fd = -1;

        if (!directory)
                return -ENOENT;
        path = g_build_filename(directory, name, NULL);
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/**
 * limit_write() - Writes one limit.
 * @controller: of version 1; @v1, @v2: file and value in either version, a NULL name where the version has none
 */
gboolean limit_write(State *state, const char *field, const char *controller, LimitFile v1, LimitFile v2,
                     GError **error) {
        g_autofree char *directory = group_directory(state, controller);
        gboolean old = directory != NULL;
        const LimitFile *file = old ? &v1 : &v2;
        int r;

        if (!file->name)
                return oci_fail(error, OCI_ERROR_FAILED, "%s: there is nothing like it in cgroup version %d", field,
                                old ? 1 : 2);
        r = write_file(state, old ? controller : "", file->name, file->value);
        if (r == -ENOENT)
                return oci_fail(error, OCI_ERROR_FAILED, "%s: this host has no %s here to enforce it", field,
                                file->name);
        return r < 0 ? oci_fail_errno(error, r, "%s: write \"%s\" to %s", field, file->value, file->name) : TRUE;
}

static char *number(gint64 v) {
        return g_strdup_printf("%" G_GINT64_FORMAT, v);
}

static char *number_or_max(gint64 v) {
        return v < 0 ? g_strdup("max") : number(v);
}

/* A number that is the same in both versions, but for "no limit". */
static gboolean limit_number(State *state, JsonObject *object, const char *path, const char *name,
                             const char *controller, const char *v1_name, const char *v2_name, GError **error) {
        g_autofree char *field = g_strconcat(path, name, NULL), *v1 = NULL, *v2 = NULL;
        gint64 value = 0;

        if (!field_int(object, path, name, -1, G_MAXINT64, &value, error))
                return FALSE;
        if (!field_given(object, name) || value == 0)
                return TRUE;
        v1 = number(value);
        v2 = number_or_max(value);
        return limit_write(state, field, controller, (LimitFile){ v1_name, v1 }, (LimitFile){ v2_name, v2 }, error);
}

/* The same where 0 is a value as any other; where the kernel has no such file it is what holds. */
static gboolean limit_number_or_zero(State *state, JsonObject *object, const char *path, const char *name,
                                     const char *controller, const char *v1_name, const char *v2_name, GError **error) {
        g_autofree char *directory = group_directory(state, controller);
        const char *file = directory ? v1_name : v2_name;
        gint64 value = 0;
        int r;

        if (!limit_number(state, object, path, name, controller, v1_name, v2_name, error) ||
            !field_int(object, path, name, -1, G_MAXINT64, &value, error))
                return FALSE;
        if (!field_given(object, name) || value != 0 || !file)
                return TRUE;
        r = write_file(state, directory ? controller : "", file, "0");
        return r >= 0 || r == -ENOENT || oci_fail_errno(error, r, "%s%s: write \"0\" to %s", path, name, file);
}

static gboolean limit_swap(State *state, JsonObject *memory, GError **error) {
        gint64 swap = 0, limit = 0;
        g_autofree char *v1 = NULL, *v2 = NULL;

        if (!field_int(memory, RESOURCES "memory.", "swap", -1, G_MAXINT64, &swap, error) ||
            !field_int(memory, RESOURCES "memory.", "limit", -1, G_MAXINT64, &limit, error))
                return FALSE;
        if (swap == 0)
                return TRUE;
        if (swap > 0 && (limit <= 0 || swap < limit))
                return oci_fail(error, OCI_ERROR_FAILED,
                                RESOURCES "memory.swap: is memory and swap together, and less than the limit");
        v1 = number(swap);
        v2 = swap < 0 ? g_strdup("max") : number(swap - limit);
        return limit_write(state, RESOURCES "memory.swap", "memory", (LimitFile){ "memory.memsw.limit_in_bytes", v1 },
                           (LimitFile){ "memory.swap.max", v2 }, error);
}

/* Version 1 wants the lower of the two limits first when both sink, and last when both rise. */
static gboolean limit_memory_and_swap(State *state, JsonObject *memory, GError **error) {
        g_autoptr(GError) inner = NULL;

        if (limit_number(state, memory, RESOURCES "memory.", "limit", "memory", "memory.limit_in_bytes", "memory.max",
                         &inner))
                return limit_swap(state, memory, error);
        if (!field_given(memory, "swap")) {
                g_propagate_error(error, g_steal_pointer(&inner));
                return FALSE;
        }
        return limit_swap(state, memory, error) && limit_number(state, memory, RESOURCES "memory.", "limit", "memory",
                                                                "memory.limit_in_bytes", "memory.max", error);
}

/* What systemd has no property for. */
static gboolean limit_memory_rest(State *state, JsonObject *resources, GError **error) {
        static const char path[] = RESOURCES "memory.";
        JsonObject *memory = NULL;
        gboolean no_oom = FALSE;

        if (!field_object(resources, RESOURCES, "memory", &memory, error) ||
            !field_bool(memory, path, "disableOOMKiller", &no_oom, error))
                return FALSE;
        if (!memory)
                return TRUE;
        if (!limit_number(state, memory, path, "kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", NULL, error) ||
            !limit_number_or_zero(state, memory, path, "swappiness", "memory", "memory.swappiness", NULL, error))
                return FALSE;
        return !no_oom || limit_write(state, RESOURCES "memory.disableOOMKiller", "memory",
                                      (LimitFile){ "memory.oom_control", "1" }, (LimitFile){}, error);
}

static gboolean limit_memory(State *state, JsonObject *resources, GError **error) {
        JsonObject *memory = NULL;

        if (!field_object(resources, RESOURCES, "memory", &memory, error))
                return FALSE;
        return !memory || (limit_memory_and_swap(state, memory, error) &&
                           limit_number(state, memory, RESOURCES "memory.", "reservation", "memory",
                                        "memory.soft_limit_in_bytes", "memory.low", error) &&
                           limit_memory_rest(state, resources, error));
}

static gboolean limit_shares(State *state, JsonObject *cpu, GError **error) {
        g_autofree char *v1 = NULL, *v2 = NULL;
        guint64 shares = 0;

        if (!field_uint64(cpu, RESOURCES "cpu.", "shares", &shares, error))
                return FALSE;
        if (shares == 0)
                return TRUE;
        v1 = g_strdup_printf("%" G_GUINT64_FORMAT, shares);
        v2 = g_strdup_printf("%" G_GUINT64_FORMAT, 1 + (CLAMP(shares, 2, 262144) - 2) * 9999 / 262142);
        return limit_write(state, RESOURCES "cpu.shares", "cpu", (LimitFile){ "cpu.shares", v1 },
                           (LimitFile){ "cpu.weight", v2 }, error);
}

/* cpu.max is two numbers at once; of version 1 each is a file. */
static gboolean limit_quota(State *state, JsonObject *cpu, GError **error) {
        g_autofree char *quota = NULL, *period = NULL, *max = NULL;
        gint64 q = 0, p = 0;

        if (!field_int(cpu, RESOURCES "cpu.", "quota", -1, G_MAXINT64, &q, error) ||
            !field_int(cpu, RESOURCES "cpu.", "period", 0, G_MAXINT64, &p, error))
                return FALSE;
        if (q == 0 && p == 0)
                return TRUE;
        quota = q <= 0 ? g_strdup("max") : number(q);
        max = p > 0 ? g_strdup_printf("%s %" G_GINT64_FORMAT, quota, p) : g_strdup(quota);
        period = number(p);
        g_free(quota);
        quota = number(q);
        if (p > 0 && !limit_write(state, RESOURCES "cpu.period", "cpu", (LimitFile){ "cpu.cfs_period_us", period },
                                  (LimitFile){ "cpu.max", max }, error))
                return FALSE;
        return q == 0 || limit_write(state, RESOURCES "cpu.quota", "cpu", (LimitFile){ "cpu.cfs_quota_us", quota },
                                     (LimitFile){ "cpu.max", max }, error);
}

static gboolean limit_text(State *state, JsonObject *cpu, const char *name, const char *file, GError **error) {
        g_autofree char *field = g_strconcat(RESOURCES "cpu.", name, NULL);
        const char *text = NULL;

        if (!field_string(cpu, RESOURCES "cpu.", name, &text, error))
                return FALSE;
        return !text || !*text ||
               limit_write(state, field, "cpuset", (LimitFile){ file, text }, (LimitFile){ file, text }, error);
}

/* What systemd has no property for. */
static gboolean limit_cpu_rest(State *state, JsonObject *resources, GError **error) {
        static const char path[] = RESOURCES "cpu.";
        JsonObject *cpu = NULL;

        if (!field_object(resources, RESOURCES, "cpu", &cpu, error))
                return FALSE;
        return !cpu ||
               (limit_number_or_zero(state, cpu, path, "burst", "cpu", "cpu.cfs_burst_us", "cpu.max.burst", error) &&
                limit_number(state, cpu, path, "realtimePeriod", "cpu", "cpu.rt_period_us", NULL, error) &&
                limit_number(state, cpu, path, "realtimeRuntime", "cpu", "cpu.rt_runtime_us", NULL, error));
}

static gboolean limit_cpu(State *state, JsonObject *resources, GError **error) {
        static const char path[] = RESOURCES "cpu.";
        JsonObject *cpu = NULL;

        if (!field_object(resources, RESOURCES, "cpu", &cpu, error))
                return FALSE;
        return !cpu ||
               (limit_number_or_zero(state, cpu, path, "idle", "cpu", "cpu.idle", "cpu.idle", error) &&
                limit_shares(state, cpu, error) && limit_quota(state, cpu, error) &&
                limit_cpu_rest(state, resources, error) && limit_text(state, cpu, "cpus", "cpuset.cpus", error) &&
                limit_text(state, cpu, "mems", "cpuset.mems", error));
}

/* v1 has no word for "no limit" but "max" here too */
static gboolean limit_pids(State *state, JsonObject *resources, GError **error) {
        g_autofree char *text = NULL;
        JsonObject *pids = NULL;
        gint64 limit = 0;

        if (!field_object(resources, RESOURCES, "pids", &pids, error) ||
            !field_int(pids, RESOURCES "pids.", "limit", -1, G_MAXINT64, &limit, error))
                return FALSE;
        if (limit == 0)
                return TRUE;
        text = number_or_max(limit);
        return limit_write(state, RESOURCES "pids.limit", "pids", (LimitFile){ "pids.max", text },
                           (LimitFile){ "pids.max", text }, error);
}

static gboolean limit_unified(State *state, JsonObject *resources, GError **error) {
        g_autoptr(GPtrArray) pairs = NULL;

        if (!field_map(resources, RESOURCES, "unified", &pairs, error))
                return FALSE;
        for (guint i = 0; pairs && i < pairs->len; i += 2) {
                const char *key = pairs->pdata[i], *value = pairs->pdata[i + 1];
                int r;

                if (strchr(key, '/') || !strchr(key, '.') || g_str_has_prefix(key, "cgroup.procs") ||
                    g_str_has_prefix(key, "cgroup.threads"))
                        return oci_fail(error, OCI_ERROR_FAILED, RESOURCES "unified: \"%s\" is no limit", key);
                r = write_file(state, "", key, value);
                if (r < 0)
                        return oci_fail_errno(error, r, RESOURCES "unified: write \"%s\" to %s", value, key);
        }
        return TRUE;
}

/**
 * group_limit() - Applies linux.resources to the container's group.
 *
 * What is not given stays as it is.
 */
gboolean group_limit(State *state, JsonObject *resources, GError **error) {
        if (!state->group) {
                static const char *const all[] = { "memory",         "cpu",  "pids",    "blockIO",
                                                   "hugepageLimits", "rdma", "unified", NULL };

                for (const char *const *name = all; *name; name++) {
                        JsonNode *node = json_object_get_member(resources, *name);

                        if (node && JSON_NODE_HOLDS_OBJECT(node) &&
                            json_object_get_size(json_node_get_object(node)) > 0)
                                return oci_fail(error, OCI_ERROR_FAILED,
                                                RESOURCES "%s: --cgroup-manager=disabled limits nothing", *name);
                }
                return TRUE;
        }
        return limit_memory(state, resources, error) && limit_cpu(state, resources, error) &&
               limit_pids(state, resources, error) && limit_block_io(state, resources, error) &&
               limit_huge_pages(state, resources, error) && limit_devices(state, resources, error) &&
               limit_unified(state, resources, error);
}

/**
 * group_limit_rest() - Applies what of linux.resources is no property of a unit to the scope's group.
 * @plan: has the files of "unified" that are none
 */
gboolean group_limit_rest(State *state, JsonObject *resources, const struct plan *plan, GError **error) {
        const plan_str *pairs = plan_array(plan, plan->unified);

        for (guint i = 0; i < plan->unified.n; i++) {
                const char *name = plan_string(plan, pairs[2 * i]), *value = plan_string(plan, pairs[2 * i + 1]);
                int r = write_file(state, "", name, value);

                if (r < 0)
                        return oci_fail_errno(error, r, RESOURCES "unified: write \"%s\" to %s", value, name);
        }
        return !resources || (limit_memory_rest(state, resources, error) && limit_cpu_rest(state, resources, error) &&
                              limit_huge_pages(state, resources, error));
}
