/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources of a running container: only what is given changes.
 *
 * The same sections as for a new container, so that a field means the same in both; what is other is
 * that half of a pair (memory and swap, quota and period) is completed from what holds now, and that
 * -1 takes a limit away. Devices stay what they were at the start.
 */

#include "plan/build-internal.h"

static void build_done(Build *b) {
        g_clear_pointer(&b->properties, g_ptr_array_unref);
        g_clear_pointer(&b->unified, g_ptr_array_unref);
}

static gboolean build_update(Build *b, JsonObject *resources, PlanUpdate *ret, GError **error) {
        static const char *const refused[] = { "devices", NULL };
        JsonObject *memory = NULL;

        return build_refuse_given(resources, "linux.resources.", refused, error) && build_limits(b, resources, error) &&
               field_object(resources, "linux.resources.", "memory", &memory, error) &&
               field_bool(memory, "linux.resources.memory.", "checkBeforeUpdate", &ret->check_memory, error);
}

/**
 * plan_build_update() - Compiles a change of limits.
 * @resources: the object linux.resources, borrowed; NULL: nothing yet
 * @now: what holds
 * @ret: filled on success; clear with plan_update_clear()
 */
gboolean plan_build_update(JsonNode *resources, const PlanLimits *now, PlanUpdate *ret, GError **error) {
        Build b = { .now = now, .properties = build_properties_new(), .unified = build_unified_new() };

        *ret = (PlanUpdate){};
        if (resources && !JSON_NODE_HOLDS_OBJECT(resources)) {
                build_done(&b);
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.resources: is not an object");
        }
        if (resources && !build_update(&b, json_node_get_object(resources), ret, error)) {
                build_done(&b);
                return FALSE;
        }
        ret->unit_properties = g_steal_pointer(&b.properties);
        ret->unified = g_steal_pointer(&b.unified);
        return TRUE;
}
