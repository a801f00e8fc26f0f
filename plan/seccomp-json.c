/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A profile as linux.seccomp, for a runtime that is not ours.
 *
 * The reverse of seccomp-profile.c, for the built-in profile alone: what a caller gives is handed on as it is. Rules
 * keep their order; calls that are allowed whatever their arguments are share one entry.
 */

#include <linux/seccomp.h>

#include "plan/fields.h"
#include "plan/seccomp.h"

static const char *const operators[] = {
        [SECCOMP_CMP_NE] = "SCMP_CMP_NE",
        [SECCOMP_CMP_LT] = "SCMP_CMP_LT",
        [SECCOMP_CMP_LE] = "SCMP_CMP_LE",
        [SECCOMP_CMP_EQ] = "SCMP_CMP_EQ",
        [SECCOMP_CMP_GE] = "SCMP_CMP_GE",
        [SECCOMP_CMP_GT] = "SCMP_CMP_GT",
        [SECCOMP_CMP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ",
};

static const char *const arches[_SECCOMP_ARCH_MAX] = {
        [SECCOMP_ARCH_X86_64] = "SCMP_ARCH_X86_64",
        [SECCOMP_ARCH_X86] = "SCMP_ARCH_X86",
        [SECCOMP_ARCH_X32] = "SCMP_ARCH_X32",
};

static void set_action(JsonObject *object, const char *action, const char *number, guint32 value) {
        gboolean allow = (value & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW;

        json_object_set_string_member(object, action, allow ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO");
        if (!allow)
                json_object_set_int_member(object, number, value & SECCOMP_RET_DATA);
}

static void add_object(JsonArray *array, JsonObject *object) {
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);

        json_node_take_object(node, object);
        json_array_add_element(array, node);
}

static void add_condition(JsonArray *args, const SeccompCondition *c) {
        JsonObject *object = json_object_new();

        json_object_set_int_member(object, "index", c->index);
        json_object_set_string_member(object, "op", operators[c->op]);
        json_object_set_int_member(object, "value", (gint64)c->value);
        if (c->op == SECCOMP_CMP_MASKED_EQ)
                json_object_set_int_member(object, "valueTwo", (gint64)c->value_two);
        add_object(args, object);
}

static void add_rule(JsonArray *syscalls, const SeccompRule *rule) {
        JsonObject *object = json_object_new();

        field_set_strings(object, "names", &rule->name, 1);
        set_action(object, "action", "errnoRet", rule->action);
        for (guint i = 0; i < rule->n; i++)
                add_condition(field_ensure_array(object, "args"), &rule->conditions[i]);
        add_object(syscalls, object);
}

/** seccomp_profile_to_json() - A profile that only allows and refuses with an error number; the caller's. */
JsonObject *seccomp_profile_to_json(const SeccompProfile *profile) {
        JsonObject *object = json_object_new(), *always = json_object_new();
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        JsonArray *syscalls;

        set_action(object, "defaultAction", "defaultErrnoRet", profile->default_action);
        json_array_add_string_element(field_ensure_array(object, "architectures"), arches[SECCOMP_ARCH_X86_64]);
        for (guint i = 0; i < _SECCOMP_ARCH_MAX; i++)
                if (i != SECCOMP_ARCH_X86_64 && (profile->arches & 1U << i))
                        json_array_add_string_element(field_ensure_array(object, "architectures"), arches[i]);
        syscalls = field_ensure_array(object, "syscalls");
        add_object(syscalls, always);
        for (guint i = 0; i < profile->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);

                if (rule->n == 0 && rule->action == SECCOMP_RET_ALLOW)
                        g_ptr_array_add(names, (gpointer)rule->name);
                else
                        add_rule(syscalls, rule);
        }
        field_set_strings(always, "names", (const char *const *)names->pdata, names->len);
        json_object_set_string_member(always, "action", "SCMP_ACT_ALLOW");
        return object;
}
