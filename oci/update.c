/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci update: other limits for a container.
 *
 * Options, or a file with what linux.resources would have, say what changes; all else stays. The driver that made the
 * cgroup also changes it: files, or properties of the scope.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/container.h"
#include "oci/group-systemd.h"
#include "oci/group.h"
#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"

#define RESOURCES_MAX (1U << 20)

static char *arg_resources, *arg_cpus, *arg_mems;
static char *arg_values[13];

enum { MEMORY, RESERVATION, SWAP, PIDS, SHARES, QUOTA, PERIOD, BURST, IDLE, RT_PERIOD, RT_RUNTIME, WEIGHT, KERNEL };

static const GOptionEntry entries[] = {
        { "resources", 'r', 0, G_OPTION_ARG_FILENAME, &arg_resources, "File with the new limits, - for standard input",
          "FILE" },
        { "memory", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[MEMORY], "Memory (in bytes, or with k, m, g)", "SIZE" },
        { "memory-reservation", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[RESERVATION], "Memory not to be reclaimed",
          "SIZE" },
        { "memory-swap", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[SWAP], "Memory and swap together", "SIZE" },
        { "kernel-memory", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &arg_values[KERNEL], NULL, NULL },
        { "kernel-memory-tcp", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &arg_values[KERNEL], NULL, NULL },
        { "pids-limit", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[PIDS], "Number of processes and threads", "N" },
        { "cpu-share", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[SHARES], "Shares of CPU time", "N" },
        { "cpu-quota", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[QUOTA], "CPU time in a period, microseconds", "N" },
        { "cpu-period", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[PERIOD], "Length of a period, microseconds", "N" },
        { "cpu-burst", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[BURST], "CPU time that can be saved up", "N" },
        { "cpu-idle", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[IDLE], "1: only when nobody else runs", "N" },
        { "cpu-rt-period", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[RT_PERIOD], "The same for real-time", "N" },
        { "cpu-rt-runtime", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[RT_RUNTIME], "The same for real-time", "N" },
        { "cpuset-cpus", 0, 0, G_OPTION_ARG_FILENAME, &arg_cpus, "CPUs to use", "LIST" },
        { "cpuset-mems", 0, 0, G_OPTION_ARG_FILENAME, &arg_mems, "Memory nodes to use", "LIST" },
        { "blkio-weight", 0, 0, G_OPTION_ARG_FILENAME, &arg_values[WEIGHT], "Share of block I/O, 10 to 1000", "N" },
        {},
};

static const struct {
        int option;
        const char *section, *name, *text;
} numbers[] = {
        { MEMORY, "memory", "limit", "--memory" },
        { RESERVATION, "memory", "reservation", "--memory-reservation" },
        { SWAP, "memory", "swap", "--memory-swap" },
        { PIDS, "pids", "limit", "--pids-limit" },
        { SHARES, "cpu", "shares", "--cpu-share" },
        { QUOTA, "cpu", "quota", "--cpu-quota" },
        { PERIOD, "cpu", "period", "--cpu-period" },
        { BURST, "cpu", "burst", "--cpu-burst" },
        { IDLE, "cpu", "idle", "--cpu-idle" },
        { RT_PERIOD, "cpu", "realtimePeriod", "--cpu-rt-period" },
        { RT_RUNTIME, "cpu", "realtimeRuntime", "--cpu-rt-runtime" },
        { WEIGHT, "blockIO", "weight", "--blkio-weight" },
};

/* A number, for sizes with a unit. */
static gboolean parse_number(const char *text, gboolean size, gint64 *ret) {
        static const char units[] = "bkmgt";
        const char *unit;
        char *end;

        errno = 0;
        *ret = g_ascii_strtoll(text, &end, 10);
        if (errno != 0 || end == text || *ret < -1)
                return FALSE;
        if (!size || !*end)
                return *end == '\0';
        unit = strchr(units, g_ascii_tolower(*end));
        end += unit && (end[1] == 'b' || end[1] == 'B') && *end != 'b' ? 2 : 1;
        if (!unit || *end || *ret > G_MAXINT64 >> 10 * (unit - units))
                return FALSE;
        *ret <<= 10 * (unit - units);
        return TRUE;
}

static gboolean take_options(JsonObject *resources, GError **error) {
        for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
                const char *text = arg_values[numbers[i].option];
                gint64 value;

                if (!text)
                        continue;
                if (!parse_number(text, g_str_equal(numbers[i].section, "memory"), &value))
                        return oci_fail(error, OCI_ERROR_USAGE, "%s: \"%s\" is no value for it", numbers[i].text, text);
                json_object_set_int_member(field_ensure_object(resources, numbers[i].section), numbers[i].name, value);
        }
        if (arg_cpus)
                json_object_set_string_member(field_ensure_object(resources, "cpu"), "cpus", arg_cpus);
        if (arg_mems)
                json_object_set_string_member(field_ensure_object(resources, "cpu"), "mems", arg_mems);
        return TRUE;
}

static JsonNode *read_resources(GError **error) {
        gboolean input = arg_resources && g_str_equal(arg_resources, "-");
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        if (!arg_resources)
                return json_node_init_object(json_node_alloc(), json_object_new());
        if (!input)
                return json_load(arg_resources, error);
        r = fd_read_bounded(STDIN_FILENO, RESOURCES_MAX, &text, &size);
        if (r < 0) {
                (void)oci_fail_errno(error, r, "--resources");
                return NULL;
        }
        return spec_parse(text, size, error);
}

/* Files of the group, which go first, because there the kernel may say no. */
static gboolean set_rest(State *state, JsonObject *resources, const PlanResult *result, GError **error) {
        const void *plan;
        gboolean ok;
        size_t size;
        int r;

        r = memfd_map_sealed(result->memfd, PLAN_SIZE_MAX, &plan, &size);
        if (r < 0)
                return oci_fail_errno(error, r, "plan");
        ok = group_limit_rest(state, resources, plan, error);
        (void)munmap((void *)plan, size);
        return ok;
}

/* As properties: the same conversion as at the start, of a configuration that has nothing but these resources. */
static gboolean set_properties(State *state, JsonObject *resources, GError **error) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", state->dir_fd, STATE_CONFIG);
        g_autoptr(JsonNode) spec = json_load(path, error);
        const PlanRootfs rootfs = { .directory = "/" };
        const PlanContext context = {
                .namespace_ = "default",
                .id = state->id,
                .rootfs = &rootfs,
                .bundle = TRUE,
                .units = TRUE,
                .flags = PLAN_BUNDLE,
        };
        g_auto(PlanResult) plan = PLAN_RESULT_NULL;

        if (!spec)
                return FALSE;
        json_object_set_object_member(field_ensure_object(json_node_get_object(spec), "linux"), "resources",
                                      json_object_ref(resources));
        json_object_remove_member(json_node_get_object(spec), "mounts");
        if (!plan_build(spec, &context, &plan, error))
                return FALSE;
        for (guint i = plan.unit_properties->len; i-- > 0;) { /* access to devices is not for updates */
                const PlanUnitProperty *p = plan.unit_properties->pdata[i];

                if (g_str_has_prefix(p->name, "Device"))
                        g_ptr_array_remove_index(plan.unit_properties, i);
        }
        return set_rest(state, resources, &plan, error) && scope_set(state, plan.unit_properties, error);
}

/** verb_update() - davit-oci update */
int verb_update(Oci *oci, int argc, char *argv[], GError **error) {
        g_autoptr(JsonNode) node = NULL;
        g_auto(State) state = STATE_NULL;
        JsonObject *resources;

        if (!oci_parse(entries, "ID", "Changes the limits of a container.", &argc, &argv, error) ||
            !take_id(argc, argv, error))
                return -1;
        node = read_resources(error);
        if (!node)
                return -1;
        if (!JSON_NODE_HOLDS_OBJECT(node)) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "--resources: is not an object");
                return -1;
        }
        resources = json_node_get_object(node);
        json_object_remove_member(resources, "devices");
        if (!take_options(resources, error) || !state_load(oci, argv[1], &state, error) || !state_lock(&state, error))
                return -1;
        if (state_status(&state) == STATUS_STOPPED) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "container not running");
                return -1;
        }
        if (state.driver == GROUP_SYSTEMD)
                return set_properties(&state, resources, error) ? 0 : -1;
        return group_limit(&state, resources, error) ? 0 : -1;
}
