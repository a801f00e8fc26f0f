/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.unified: files of cgroup v2.
 *
 * The scope's cgroup has one writer, systemd, so a file that a unit property stands for becomes that
 * property, and outweighs the same limit given in another section. Any other file of a controller is
 * left to the shim, which writes it in the container's own group below the scope, never in the scope.
 */

#include <errno.h>
#include <string.h>

#include "plan/build-internal.h"

#define UNIFIED "linux.resources.unified."
#define VALUE_MAX 1024U

static const struct {
        const char *key, *property, *controller;
        guint64 min, max; /* of numbers; "max" is allowed where max is the largest of all */
} numbers[] = {
        { "memory.max", "MemoryMax", "memory", 0, G_MAXUINT64 },
        { "memory.high", "MemoryHigh", "memory", 0, G_MAXUINT64 },
        { "memory.low", "MemoryLow", "memory", 0, G_MAXUINT64 },
        { "memory.min", "MemoryMin", "memory", 0, G_MAXUINT64 },
        { "memory.swap.max", "MemorySwapMax", "memory", 0, G_MAXUINT64 },
        { "pids.max", "TasksMax", "pids", 1, G_MAXUINT64 },
        { "cpu.weight", "CPUWeight", "cpu", 1, 10000 },
        { "io.weight", "IOWeight", "io", 1, 10000 },
};

static gboolean parse_number(const char *text, guint64 *ret) {
        char *end;

        if (!g_ascii_isdigit(*text))
                return FALSE;
        errno = 0;
        *ret = g_ascii_strtoull(text, &end, 10);
        return errno == 0 && *end == '\0';
}

static gboolean invalid(const char *key, const char *value, GError **error) {
        return plan_fail(error, PLAN_ERROR_INVALID, UNIFIED "%s: \"%s\" is not a value of that file", key, value);
}

static gboolean build_number(Build *b, gsize i, const char *value, GError **error) {
        g_autofree char *field = g_strconcat(UNIFIED, numbers[i].key, NULL);
        const char *text = value;
        guint64 v;

        if (g_str_equal(numbers[i].key, "io.weight") && g_str_has_prefix(text, "default "))
                text += strlen("default ");
        if (numbers[i].max == G_MAXUINT64 && g_str_equal(text, "max"))
                v = G_MAXUINT64;
        else if (!parse_number(text, &v) || v < numbers[i].min || v > numbers[i].max)
                return invalid(numbers[i].key, value, error);
        if (g_str_equal(numbers[i].key, "memory.max") && !build_memory_minimum(b, field, v, error))
                return FALSE;
        build_property(b, numbers[i].property, g_variant_new_uint64(v), numbers[i].controller, field);
        return TRUE;
}

/* "QUOTA [PERIOD]", microseconds */
static gboolean build_cpu_max(Build *b, const char *value, GError **error) {
        g_auto(GStrv) words = g_strsplit(value, " ", -1);
        guint64 quota = G_MAXUINT64, period = 100000;

        if (g_strv_length(words) < 1 || g_strv_length(words) > 2)
                return invalid("cpu.max", value, error);
        if (words[1] && (!parse_number(words[1], &period) || period < 1000 || period > G_USEC_PER_SEC))
                return invalid("cpu.max", value, error);
        if (!g_str_equal(words[0], "max") &&
            (!parse_number(words[0], &quota) || quota < 1000 || quota > G_MAXINT64 / G_USEC_PER_SEC))
                return invalid("cpu.max", value, error);
        build_property(b, "CPUQuotaPerSecUSec",
                       g_variant_new_uint64(quota == G_MAXUINT64 ? quota : quota * G_USEC_PER_SEC / period), "cpu",
                       UNIFIED "cpu.max");
        if (words[1] && quota != G_MAXUINT64)
                build_property(b, "CPUQuotaPeriodUSec", g_variant_new_uint64(period), "cpu", UNIFIED "cpu.max");
        return TRUE;
}

/* "controller.file"; cgroup.* are the group itself, which is not a limit and not for callers. */
static gboolean build_file(Build *b, const char *key, const char *value, GError **error) {
        const char *dot = strchr(key, '.');
        PlanUnified *u;

        if (!dot || dot == key || !dot[1] || strspn(key, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "._") != strlen(key))
                return plan_fail(error, PLAN_ERROR_INVALID, UNIFIED "%s: is not the name of a file of a controller",
                                 key);
        if (b->context && b->context->bundle)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 UNIFIED "%s: no property of a systemd unit stands for it", key);
        if (g_str_has_prefix(key, "cgroup."))
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, UNIFIED "%s: is no limit of a controller", key);
        if (!*value || strlen(value) > VALUE_MAX)
                return invalid(key, value, error);
        for (const char *p = value; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return invalid(key, "?", error);
        u = g_new0(PlanUnified, 1);
        u->name = g_strdup(key);
        u->value = g_strdup(value);
        u->controller = g_strndup(key, (gsize)(dot - key));
        g_ptr_array_add(b->unified, u);
        return TRUE;
}

static gboolean build_key(Build *b, const char *key, const char *value, GError **error) {
        for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++)
                if (g_str_equal(numbers[i].key, key))
                        return build_number(b, i, value, error);
        if (g_str_equal(key, "cpu.max"))
                return build_cpu_max(b, value, error);
        if (g_str_equal(key, "cpuset.cpus"))
                return build_cpu_list(b, UNIFIED "cpuset.cpus", value, "AllowedCPUs", error);
        if (g_str_equal(key, "cpuset.mems"))
                return build_cpu_list(b, UNIFIED "cpuset.mems", value, "AllowedMemoryNodes", error);
        return build_file(b, key, value, error);
}

/** build_unified() - Section "Unified". */
gboolean build_unified(Build *b, JsonObject *resources, GError **error) {
        g_autoptr(GPtrArray) pairs = NULL;

        if (!field_map(resources, "linux.resources.", "unified", &pairs, error))
                return FALSE;
        for (guint i = 0; pairs && i < pairs->len; i += 2)
                if (!build_key(b, pairs->pdata[i], pairs->pdata[i + 1], error))
                        return FALSE;
        return TRUE;
}
