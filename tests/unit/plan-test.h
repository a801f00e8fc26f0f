/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Helpers of the plan tests: configurations written with single quotes, plans mapped and checked. */

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "plan/build.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/plan-check.h"

/* Text with ' for " */
static inline JsonNode *json(const char *text) {
        g_autofree char *quoted = g_strdup(text);
        g_autoptr(GError) error = NULL;
        JsonNode *node;

        for (char *p = quoted; *p; p++)
                if (*p == '\'')
                        *p = '"';
        node = spec_parse(quoted, strlen(quoted), &error);
        if (!node)
                g_error("%s: %s", text, error->message);
        return node;
}

/* The default configuration with a command, and a merge patch over it. */
static inline JsonNode *patched(const char *patch) {
        g_autoptr(JsonNode) spec = spec_default_new(), change = json(patch);

        json_object_set_array_member(json_object_get_object_member(json_node_get_object(spec), "process"), "args",
                                     json_array_new());
        json_array_add_string_element(
                json_object_get_array_member(json_object_get_object_member(json_node_get_object(spec), "process"),
                                             "args"),
                "true");
        return spec_merge_patch(spec, change);
}

static const PlanRootfs test_rootfs = { .directory = "/srv/root" };
static const PlanContext test_context = {
        .namespace_ = "default",
        .id = "web",
        .log_identifier = "web",
        .rootfs = &test_rootfs,
        .stop_timeout_usec = 10000000,
};

typedef struct Built {
        PlanResult result;
        const struct plan *plan;
        size_t size;
} Built;

static inline void built_clear(Built *b) {
        if (b->plan)
                munmap((void *)b->plan, b->size);
        plan_result_clear(&b->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Built, built_clear)

static inline void built_map(Built *b) {
        const void *data;

        g_assert_cmpint(memfd_map_sealed(b->result.memfd, PLAN_SIZE_MAX, &data, &b->size), ==, 0);
        g_assert_cmpint(plan_check(data, b->size), ==, 0);
        b->plan = data;
}

static inline Built build_spec(JsonNode *spec, const PlanContext *context) {
        Built b = { .result = PLAN_RESULT_NULL };
        g_autoptr(GError) error = NULL;

        if (!plan_build(spec, context, &b.result, &error))
                g_error("%s", error->message);
        built_map(&b);
        return b;
}

static inline Built build_patch(const char *patch) {
        g_autoptr(JsonNode) spec = patched(patch);

        return build_spec(spec, &test_context);
}

/* The patch is refused with this code, in a message that begins with the text. */
static inline void refuse_patch(const char *patch, PlanError code, const char *message) {
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) spec = patched(patch);
        g_autoptr(GError) error = NULL;

        if (plan_build(spec, &test_context, &result, &error))
                g_error("%s: was not refused", patch);
        g_assert_cmpint(result.memfd, ==, -1);
        if (!g_error_matches(error, PLAN_ERROR, (int)code) || !g_str_has_prefix(error->message, message))
                g_error("%s: code %d, \"%s\" instead of code %d, \"%s\"", patch, error->code, error->message, (int)code,
                        message);
}

static inline const PlanUnitProperty *find_property(const Built *b, const char *name) {
        for (guint i = 0; i < b->result.unit_properties->len; i++) {
                const PlanUnitProperty *p = b->result.unit_properties->pdata[i];

                if (g_str_equal(p->name, name))
                        return p;
        }
        return NULL;
}
