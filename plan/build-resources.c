/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources: memory, cpu and pids as properties of the container's systemd unit.
 *
 * systemd writes the cgroup; here limits only become values of its D-Bus properties
 * (org.freedesktop.systemd1, systemd.resource-control(5)). "controller" tells the manager what must
 * exist for a limit to hold. Block devices, device access and "unified" are files of their own.
 */

#include <string.h>

#include "plan/build-internal.h"

#define CPU_PERIOD_DEFAULT 100000U
#define CPUS_MAX PLAN_BITS_MAX

/* -1 is "no limit" */
static guint64 limit_value(gint64 v) {
        return v < 0 ? G_MAXUINT64 : (guint64)v;
}

/** build_memory_minimum() - Refuses a limit in which no container could be made. */
gboolean build_memory_minimum(Build *b, const char *field, guint64 limit, GError **error) {
        if (limit >= PLAN_MEMORY_MIN || (b->context && b->context->bundle))
                return TRUE;
        return plan_fail(error, PLAN_ERROR_INVALID,
                         "%s: %" G_GUINT64_FORMAT " bytes are too few: the minimum is %" G_GUINT64_FORMAT " (4 MiB)",
                         field, limit, PLAN_MEMORY_MIN);
}

/* OCI's swap is memory and swap together, systemd's is swap alone. */
static gboolean build_swap(Build *b, JsonObject *memory, gint64 limit, GError **error) {
        gint64 swap = 0;

        if (!field_int(memory, "linux.resources.memory.", "swap", -1, G_MAXINT64, &swap, error))
                return FALSE;
        if (swap == 0)
                return TRUE;
        if (limit == 0 && b->now && b->now->memory_max <= G_MAXINT64)
                limit = (gint64)b->now->memory_max;
        if (swap > 0 && limit <= 0)
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.resources.memory.swap: needs a limit for memory");
        if (swap > 0 && swap < limit)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "linux.resources.memory.swap: is memory and swap together, and less than the limit");
        build_property(b, "MemorySwapMax", g_variant_new_uint64(swap < 0 ? G_MAXUINT64 : (guint64)(swap - limit)),
                       "memory", "linux.resources.memory.swap");
        return TRUE;
}

/** build_refuse_given() - Refuses numbers, lists and switches that ask for something; 0, -1, false and empty ask for
 * nothing. */
gboolean build_refuse_given(JsonObject *object, const char *path, const char *const *names, GError **error) {
        for (; object && *names; names++) {
                JsonNode *node = json_object_get_member(object, *names);
                gint64 v;

                if (!node || JSON_NODE_HOLDS_NULL(node) || (node_int(node, &v) && (v == 0 || v == -1)))
                        continue;
                if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
                    !json_node_get_boolean(node))
                        continue;
                if ((JSON_NODE_HOLDS_ARRAY(node) && json_array_get_length(json_node_get_array(node)) == 0) ||
                    (JSON_NODE_HOLDS_OBJECT(node) && json_object_get_size(json_node_get_object(node)) == 0))
                        continue;
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%s%s: not supported", path, *names);
        }
        return TRUE;
}

/* What is no property of a unit is written by davit-oci, which owns the group. */
static gboolean refuse_unless_file(Build *b, JsonObject *object, const char *path, const char *const *names,
                                   GError **error) {
        return (b->context && b->context->bundle) || build_refuse_given(object, path, names, error);
}

/* useHierarchy is how cgroup v2 always works; checkBeforeUpdate is about updates. */
static gboolean build_memory(Build *b, JsonObject *resources, GError **error) {
        static const char *const refused[] = { "kernel", "kernelTCP", "swappiness", "disableOOMKiller", NULL };
        gint64 limit = 0, reservation = 0;
        JsonObject *memory = NULL;

        if (!field_object(resources, "linux.resources.", "memory", &memory, error))
                return FALSE;
        if (!field_int(memory, "linux.resources.memory.", "limit", -1, G_MAXINT64, &limit, error) ||
            !field_int(memory, "linux.resources.memory.", "reservation", -1, G_MAXINT64, &reservation, error))
                return FALSE;
        if (limit > 0 && !build_memory_minimum(b, "linux.resources.memory.limit", (guint64)limit, error))
                return FALSE;
        if (limit != 0)
                build_property(b, "MemoryMax", g_variant_new_uint64(limit_value(limit)), "memory",
                               "linux.resources.memory.limit");
        if (reservation > 0)
                build_property(b, "MemoryLow", g_variant_new_uint64((guint64)reservation), "memory",
                               "linux.resources.memory.reservation");
        return build_swap(b, memory, limit, error) &&
               refuse_unless_file(b, memory, "linux.resources.memory.", refused, error);
}

/** build_bits() - "0-3,7" as systemd takes CPU and node sets: a bit each, in bytes, lowest first. */
gboolean build_bits(const char *field, const char *text, GByteArray *ret, GError **error) {
        const char *p = text;

        while (*p) {
                guint64 from, to;
                char *end;

                from = to = g_ascii_isdigit(*p) ? g_ascii_strtoull(p, &end, 10) : CPUS_MAX;
                if (from < CPUS_MAX && *end == '-')
                        to = g_ascii_isdigit(end[1]) ? g_ascii_strtoull(end + 1, &end, 10) : CPUS_MAX;
                if (from > to || to >= CPUS_MAX || (*end && (*end != ',' || !end[1])))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s: \"%s\" is not a list like \"0-3,7\"", field,
                                         text);
                if (ret->len < to / 8 + 1) {
                        guint old = ret->len;

                        g_byte_array_set_size(ret, (guint)(to / 8 + 1));
                        memset(ret->data + old, 0, ret->len - old);
                }
                for (guint64 i = from; i <= to; i++)
                        ret->data[i / 8] |= (guint8)(1U << (i % 8));
                p = *end ? end + 1 : end;
        }
        return TRUE;
}

/** build_cpu_list() - A property whose value is a set of CPUs or memory nodes. */
gboolean build_cpu_list(Build *b, const char *field, const char *text, const char *property, GError **error) {
        g_autoptr(GByteArray) bits = g_byte_array_new();

        if (!build_bits(field, text, bits, error))
                return FALSE;
        build_property(b, property, g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bits->data, bits->len, 1), "cpuset",
                       field);
        return TRUE;
}

static gboolean build_set(Build *b, JsonObject *cpu, const char *name, const char *property, GError **error) {
        g_autofree char *field = g_strconcat("linux.resources.cpu.", name, NULL);
        const char *text = NULL;

        if (!field_string(cpu, "linux.resources.cpu.", name, &text, error))
                return FALSE;
        return !text || !*text || build_cpu_list(b, field, text, property, error);
}

/* What holds now of a pair of which a change names one half. */
static void fill_quota(const PlanLimits *now, gint64 *quota, guint64 *period) {
        guint64 now_period = now->cpu_quota_period_usec == G_MAXUINT64 || now->cpu_quota_period_usec == 0
                                     ? CPU_PERIOD_DEFAULT
                                     : now->cpu_quota_period_usec;

        if (*quota > 0 && *period == 0)
                *period = now_period;
        else if (*quota == 0 && *period != 0 && now->cpu_quota_per_sec_usec < G_MAXINT64 / G_USEC_PER_SEC)
                *quota = (gint64)(now->cpu_quota_per_sec_usec * now_period / G_USEC_PER_SEC);
}

static gboolean build_quota(Build *b, JsonObject *cpu, GError **error) {
        guint64 period = 0;
        gint64 quota = 0;

        if (!field_int(cpu, "linux.resources.cpu.", "quota", -1, G_MAXINT64 / G_USEC_PER_SEC, &quota, error) ||
            !field_uint64(cpu, "linux.resources.cpu.", "period", &period, error))
                return FALSE;
        if (period != 0 && (period < 1000 || period > G_USEC_PER_SEC))
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "linux.resources.cpu.period: is not between 1000 and 1000000 microseconds");
        if (b->now)
                fill_quota(b->now, &quota, &period);
        if (quota < 0 && b->now)
                build_property(b, "CPUQuotaPerSecUSec", g_variant_new_uint64(G_MAXUINT64), "cpu",
                               "linux.resources.cpu.quota");
        if (quota > 0 && quota < 1000)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "linux.resources.cpu.quota: is less than 1000 microseconds");
        if (quota > 0)
                build_property(
                        b, "CPUQuotaPerSecUSec",
                        g_variant_new_uint64((guint64)quota * G_USEC_PER_SEC / (period ? period : CPU_PERIOD_DEFAULT)),
                        "cpu", "linux.resources.cpu.quota");
        if (period != 0 && quota > 0)
                build_property(b, "CPUQuotaPeriodUSec", g_variant_new_uint64(period), "cpu",
                               "linux.resources.cpu.period");
        return TRUE;
}

/* cgroup v1 shares 2..262144 onto v2 weights 1..10000, the conversion all runtimes use. */
static gboolean build_weight(Build *b, JsonObject *cpu, GError **error) {
        guint64 shares = 0;
        gint64 idle = 0;

        if (!field_uint64(cpu, "linux.resources.cpu.", "shares", &shares, error) ||
            !field_int(cpu, "linux.resources.cpu.", "idle", 0, 1, &idle, error))
                return FALSE;
        if (idle == 1) /* CPUWeight=idle */
                build_property(b, "CPUWeight", g_variant_new_uint64(0), "cpu", "linux.resources.cpu.idle");
        else if (shares != 0)
                build_property(b, "CPUWeight", g_variant_new_uint64(1 + (CLAMP(shares, 2, 262144) - 2) * 9999 / 262142),
                               "cpu", "linux.resources.cpu.shares");
        return TRUE;
}

static gboolean build_cpu(Build *b, JsonObject *resources, GError **error) {
        static const char *const refused[] = { "burst", "realtimePeriod", "realtimeRuntime", NULL };
        JsonObject *cpu = NULL;

        if (!field_object(resources, "linux.resources.", "cpu", &cpu, error))
                return FALSE;
        return build_weight(b, cpu, error) && build_quota(b, cpu, error) &&
               build_set(b, cpu, "cpus", "AllowedCPUs", error) &&
               build_set(b, cpu, "mems", "AllowedMemoryNodes", error) &&
               refuse_unless_file(b, cpu, "linux.resources.cpu.", refused, error);
}

static gboolean build_pids(Build *b, JsonObject *resources, GError **error) {
        JsonObject *pids = NULL;
        gint64 limit = 0;

        if (!field_object(resources, "linux.resources.", "pids", &pids, error) ||
            !field_int(pids, "linux.resources.pids.", "limit", -1, G_MAXINT64, &limit, error))
                return FALSE;
        if (limit != 0)
                build_property(b, "TasksMax", g_variant_new_uint64(limit_value(limit)), "pids",
                               "linux.resources.pids.limit");
        return TRUE;
}

/** build_limits() - All of linux.resources but devices, of a new container or of a change. */
gboolean build_limits(Build *b, JsonObject *resources, GError **error) {
        static const char *const refused[] = { "network", "rdma", "hugepageLimits", NULL };

        return refuse_unless_file(b, resources, "linux.resources.", refused, error) &&
               build_memory(b, resources, error) && build_cpu(b, resources, error) && build_pids(b, resources, error) &&
               build_block_io(b, resources, error) && build_unified(b, resources, error);
}

static void write_unified(Build *b) {
        g_autoptr(GArray) pairs = g_array_new(FALSE, FALSE, sizeof(plan_str));

        for (guint i = 0; i < b->unified->len; i++) {
                const PlanUnified *u = b->unified->pdata[i];
                plan_str name = writer_string(&b->writer, u->name), value = writer_string(&b->writer, u->value);

                g_array_append_val(pairs, name);
                g_array_append_val(pairs, value);
        }
        b->plan.unified = writer_array(&b->writer, pairs->data, b->unified->len, 2 * sizeof(plan_str));
}

/** build_resources() - Section "Control groups". */
gboolean build_resources(Build *b, GError **error) {
        JsonObject *resources = NULL;

        if (b->context->bundle && !b->context->units)
                return TRUE;
        if (!field_object(b->linux_, "linux.", "resources", &resources, error) || !build_limits(b, resources, error) ||
            !build_devices_policy(b, resources, error))
                return FALSE;
        write_unified(b);
        return TRUE;
}
