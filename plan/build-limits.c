/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * process.capabilities and process.rlimits.
 *
 * Both are sets of names with numbers behind them. An unknown name is an error: a capability that
 * was misspelt in a list of what to keep would otherwise be lost in silence. In bundles it is a
 * warning of davit-oci's.
 */

#include <string.h>
#include <sys/resource.h>

#include "plan/build-internal.h"
#include "plan/capabilities.h"

/* config.md: of a bundle, what cannot be had is left out and no reason to fail. */
static gboolean build_set(Build *b, JsonObject *object, const char *name, guint64 *ret, GError **error) {
        g_autoptr(GPtrArray) names = NULL;

        if (!field_strings(object, "process.capabilities.", name, &names, error))
                return FALSE;
        *ret = 0;
        for (guint i = 0; names && i < names->len; i++) {
                int capability = capability_from_name(names->pdata[i]);

                if (!g_str_has_prefix(names->pdata[i], "CAP_"))
                        capability = -1;
                if (capability < 0 && b->context->bundle)
                        continue;
                if (capability < 0)
                        return plan_fail(error, PLAN_ERROR_INVALID,
                                         "process.capabilities.%s[%u]: unknown capability \"%s\"", name, i,
                                         (const char *)names->pdata[i]);
                *ret |= G_GUINT64_CONSTANT(1) << capability;
        }
        return TRUE;
}

/** build_bounding() - The bounding set alone: what a seccomp profile of capabilities goes by. */
gboolean build_bounding(Build *b, guint64 *ret, GError **error) {
        JsonObject *object = NULL;

        *ret = 0;
        return field_object(b->process, "process.", "capabilities", &object, error) &&
               build_set(b, object, "bounding", ret, error);
}

/** build_capabilities() - The five sets; what the kernel would refuse (capabilities(7)) is refused here, by name. */
gboolean build_capabilities(Build *b, GError **error) {
        struct plan_process *p = &b->plan.process;
        JsonObject *object = NULL;

        if (!field_object(b->process, "process.", "capabilities", &object, error))
                return FALSE;
        if (!object)
                return TRUE;
        if (!build_set(b, object, "bounding", &p->cap_bounding, error) ||
            !build_set(b, object, "effective", &p->cap_effective, error) ||
            !build_set(b, object, "permitted", &p->cap_permitted, error) ||
            !build_set(b, object, "inheritable", &p->cap_inheritable, error) ||
            !build_set(b, object, "ambient", &p->cap_ambient, error))
                return FALSE;
        if (p->cap_effective & ~p->cap_permitted)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "process.capabilities.effective: has more than \"permitted\"");
        /* The kernel keeps the ambient set inside the other two; templates of other runtimes ask for more and get this.
         */
        p->cap_ambient &= p->cap_permitted & p->cap_inheritable;
        b->plan.flags |= PLAN_CAPABILITIES;
        return TRUE;
}

static const struct {
        const char *name;
        guint32 resource;
} rlimits[] = {
        { "AS", RLIMIT_AS },           { "CORE", RLIMIT_CORE },         { "CPU", RLIMIT_CPU },
        { "DATA", RLIMIT_DATA },       { "FSIZE", RLIMIT_FSIZE },       { "LOCKS", RLIMIT_LOCKS },
        { "MEMLOCK", RLIMIT_MEMLOCK }, { "MSGQUEUE", RLIMIT_MSGQUEUE }, { "NICE", RLIMIT_NICE },
        { "NOFILE", RLIMIT_NOFILE },   { "NPROC", RLIMIT_NPROC },       { "RSS", RLIMIT_RSS },
        { "RTPRIO", RLIMIT_RTPRIO },   { "RTTIME", RLIMIT_RTTIME },     { "SIGPENDING", RLIMIT_SIGPENDING },
        { "STACK", RLIMIT_STACK },
};

static gboolean build_rlimit(JsonObject *object, guint i, GArray *array, GError **error) {
        g_autofree char *field = g_strdup_printf("process.rlimits[%u].", i);
        struct plan_rlimit limit = {};
        const char *type = NULL;
        gsize at;

        if (!field_string(object, field, "type", &type, error) ||
            !field_uint64(object, field, "soft", &limit.soft, error) ||
            !field_uint64(object, field, "hard", &limit.hard, error))
                return FALSE;
        for (at = 0; at < G_N_ELEMENTS(rlimits); at++)
                if (type && g_str_has_prefix(type, "RLIMIT_") &&
                    g_str_equal(rlimits[at].name, type + strlen("RLIMIT_")))
                        break;
        if (at == G_N_ELEMENTS(rlimits))
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: unknown limit \"%s\"", field, type ? type : "");
        if (!field_given(object, "soft") || !field_given(object, "hard"))
                return plan_fail(error, PLAN_ERROR_INVALID, "%ssoft, hard: are needed", field);
        if (limit.soft > limit.hard)
                return plan_fail(error, PLAN_ERROR_INVALID, "%ssoft: is more than hard", field);
        limit.resource = rlimits[at].resource;
        for (guint j = 0; j < array->len; j++)
                if (g_array_index(array, struct plan_rlimit, j).resource == limit.resource)
                        return plan_fail(error, PLAN_ERROR_INVALID, "%stype: %s is given twice", field, type);
        g_array_append_val(array, limit);
        return TRUE;
}

/** build_rlimits() - process.rlimits. */
gboolean build_rlimits(Build *b, GError **error) {
        g_autoptr(GArray) limits = g_array_new(FALSE, TRUE, sizeof(struct plan_rlimit));
        JsonArray *array = NULL;

        if (!field_array(b->process, "process.", "rlimits", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonObject *object;

                if (!element_object(array, "process.rlimits", i, &object, error) ||
                    !build_rlimit(object, i, limits, error))
                        return FALSE;
        }
        b->plan.process.rlimits = writer_array(&b->writer, limits->data, limits->len, sizeof(struct plan_rlimit));
        return TRUE;
}
