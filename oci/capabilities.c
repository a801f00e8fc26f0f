/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Capabilities that a configuration names and no process here can have.
 *
 * The runtime specification (config.md, "Linux Process") wants them left out and a warning in the log. The plan and the
 * maker leave them out; this tells which. It never refuses one.
 */

#include <sys/prctl.h>

#include "oci/container.h"
#include "plan/capabilities.h"
#include "plan/fields.h"
#include "shim/capability.h"

typedef struct Have {
        guint64 permitted;
        gboolean all; /* what the kernel knows: in a user namespace of the container's */
} Have;

static gboolean is_granted(const Have *have, const char *name, gboolean bounding) {
        int capability = g_str_has_prefix(name, "CAP_") ? capability_from_name(name) : -1;
        int bound = capability < 0 ? -1 : prctl(PR_CAPBSET_READ, capability);

        if (bound < 0) /* we do not know it, or the kernel does not */
                return FALSE;
        return have->all || (bounding ? bound > 0 : (have->permitted >> capability & 1) != 0);
}

/** capabilities_warn() - Logs which of a process's capabilities are left out. */
void capabilities_warn(const Oci *oci, JsonObject *process, gboolean user_namespace) {
        static const char *const sets[] = { "bounding", "effective", "permitted", "inheritable", "ambient" };
        g_autoptr(GPtrArray) missing = g_ptr_array_new_with_free_func(g_free);
        Have have = { .all = user_namespace };
        g_autofree char *text = NULL;
        JsonObject *object = NULL;

        if (!field_object(process, "", "capabilities", &object, NULL) || !object ||
            capability_get(&have.permitted) < 0)
                return;
        for (gsize i = 0; i < G_N_ELEMENTS(sets); i++) {
                g_autoptr(GPtrArray) names = NULL;

                if (!field_strings(object, "", sets[i], &names, NULL))
                        return;
                for (guint j = 0; names && j < names->len; j++)
                        if (!is_granted(&have, names->pdata[j], i == 0) &&
                            !g_ptr_array_find_with_equal_func(missing, names->pdata[j], g_str_equal, NULL))
                                g_ptr_array_add(missing, g_strdup(names->pdata[j]));
        }
        if (missing->len == 0)
                return;
        g_ptr_array_add(missing, NULL);
        text = g_strjoinv(", ", (char **)missing->pdata);
        oci_warn(oci, "capabilities that are unknown or cannot be granted are left out: %s", text);
}
