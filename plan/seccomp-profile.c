/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.seccomp of config.json (config-linux.md "Seccomp") as a SeccompProfile.
 *
 * Names of system calls nobody knows are kept and compile to nothing, as profiles list calls of
 * newer kernels and other architectures; unknown actions, operators, flags and architectures are
 * errors. Handing calls to a listener is not supported. Strings stay borrowed from the tree.
 */

#include <linux/seccomp.h>
#include <string.h>

#include "plan/fields.h"
#include "plan/seccomp.h"

static const struct {
        const char *name;
        guint32 action;
        gboolean takes_errno;
} actions[] = {
        { "SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, FALSE },
        { "SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, FALSE },
        { "SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, FALSE },
        { "SCMP_ACT_TRAP", SECCOMP_RET_TRAP, FALSE },
        { "SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, TRUE },
        { "SCMP_ACT_TRACE", SECCOMP_RET_TRACE, TRUE },
        { "SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, FALSE },
        { "SCMP_ACT_LOG", SECCOMP_RET_LOG, FALSE },
        { "SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF, FALSE },
};

static const struct {
        const char *name;
        guint32 flag;
} flags[] = {
        { "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
        { "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
        { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
};

/* -1: a machine this kernel never runs programs of */
static const struct {
        const char *name;
        int arch;
} arches[] = {
        { "X86_64", SECCOMP_ARCH_X86_64 },
        { "X86", SECCOMP_ARCH_X86 },
        { "X32", SECCOMP_ARCH_X32 },
        { "ARM", -1 },
        { "AARCH64", -1 },
        { "LOONGARCH64", -1 },
        { "M68K", -1 },
        { "MIPS", -1 },
        { "MIPS64", -1 },
        { "MIPS64N32", -1 },
        { "MIPSEL", -1 },
        { "MIPSEL64", -1 },
        { "MIPSEL64N32", -1 },
        { "PPC", -1 },
        { "PPC64", -1 },
        { "PPC64LE", -1 },
        { "S390", -1 },
        { "S390X", -1 },
        { "SH", -1 },
        { "SHEB", -1 },
        { "PARISC", -1 },
        { "PARISC64", -1 },
        { "RISCV64", -1 },
};

static const struct {
        const char *name;
        SeccompCompare op;
} operators[] = {
        { "SCMP_CMP_NE", SECCOMP_CMP_NE },
        { "SCMP_CMP_LT", SECCOMP_CMP_LT },
        { "SCMP_CMP_LE", SECCOMP_CMP_LE },
        { "SCMP_CMP_EQ", SECCOMP_CMP_EQ },
        { "SCMP_CMP_GE", SECCOMP_CMP_GE },
        { "SCMP_CMP_GT", SECCOMP_CMP_GT },
        { "SCMP_CMP_MASKED_EQ", SECCOMP_CMP_MASKED_EQ },
};

/** seccomp_known() - Adds the names of everything a profile may use to @object, as features.md lists them. */
void seccomp_known(JsonObject *object) {
        for (gsize i = 0; i < G_N_ELEMENTS(actions); i++)
                json_array_add_string_element(field_ensure_array(object, "actions"), actions[i].name);
        for (gsize i = 0; i < G_N_ELEMENTS(operators); i++)
                json_array_add_string_element(field_ensure_array(object, "operators"), operators[i].name);
        for (gsize i = 0; i < G_N_ELEMENTS(arches); i++) {
                g_autofree char *name = g_strconcat("SCMP_ARCH_", arches[i].name, NULL);

                if (arches[i].arch >= 0)
                        json_array_add_string_element(field_ensure_array(object, "archs"), name);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
                json_array_add_string_element(field_ensure_array(object, "knownFlags"), flags[i].name);
                json_array_add_string_element(field_ensure_array(object, "supportedFlags"), flags[i].name);
        }
}

/* An action with its data; errno_field may be missing, EPERM then. */
static gboolean parse_action(JsonObject *object, const char *path, const char *field, const char *errno_field,
                             gboolean listening, guint32 *ret, GError **error) {
        const char *name = NULL;
        gint64 number = 1;

        if (!field_string(object, path, field, &name, error) ||
            !field_int(object, path, errno_field, 0, 4095, &number, error))
                return FALSE;
        if (!name)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s%s: is missing", path, field);
        if (g_str_equal(name, "SCMP_ACT_NOTIFY") && !listening)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 "%s%s: SCMP_ACT_NOTIFY is not supported without a listener", path, field);
        for (gsize i = 0; i < G_N_ELEMENTS(actions); i++) {
                if (!g_str_equal(actions[i].name, name))
                        continue;
                if (!actions[i].takes_errno && field_given(object, errno_field))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s%s: %s takes none", path, errno_field, name);
                *ret = actions[i].takes_errno ? actions[i].action | (guint32)number : actions[i].action;
                return TRUE;
        }
        return plan_fail(error, PLAN_ERROR_INVALID, "%s%s: unknown action \"%s\"", path, field, name);
}

static gboolean parse_flags(SeccompProfile *profile, JsonObject *object, const char *path, GError **error) {
        g_autoptr(GPtrArray) names = NULL;

        if (!field_strings(object, path, "flags", &names, error))
                return FALSE;
        for (guint i = 0; names && i < names->len; i++) {
                gsize at = 0;

                while (at < G_N_ELEMENTS(flags) && !g_str_equal(flags[at].name, names->pdata[i]))
                        at++;
                if (at == G_N_ELEMENTS(flags))
                        return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%sflags[%u]: \"%s\" is not supported", path,
                                         i, (const char *)names->pdata[i]);
                profile->flags |= flags[at].flag;
        }
        return TRUE;
}

static gboolean parse_arches(SeccompProfile *profile, JsonObject *object, const char *path, GError **error) {
        g_autoptr(GPtrArray) names = NULL;

        if (!field_strings(object, path, "architectures", &names, error))
                return FALSE;
        for (guint i = 0; names && i < names->len; i++) {
                const char *name = names->pdata[i];
                gsize at = 0;

                while (at < G_N_ELEMENTS(arches) && !(g_str_has_prefix(name, "SCMP_ARCH_") &&
                                                      g_str_equal(arches[at].name, name + strlen("SCMP_ARCH_"))))
                        at++;
                if (at == G_N_ELEMENTS(arches))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%sarchitectures[%u]: unknown architecture \"%s\"",
                                         path, i, name);
                if (arches[at].arch >= 0)
                        profile->arches |= 1U << arches[at].arch;
        }
        return TRUE;
}

static gboolean parse_condition(JsonObject *object, const char *path, SeccompCondition *ret, GError **error) {
        const char *op = NULL;

        *ret = (SeccompCondition){};
        if (!field_given(object, "index") || !field_given(object, "value") || !field_given(object, "op"))
                return plan_fail(error, PLAN_ERROR_INVALID, "%sindex, value, op: are needed", path);
        if (!field_uint32(object, path, "index", &ret->index, error) ||
            !field_uint64(object, path, "value", &ret->value, error) ||
            !field_uint64(object, path, "valueTwo", &ret->value_two, error) ||
            !field_string(object, path, "op", &op, error))
                return FALSE;
        if (ret->index >= SECCOMP_CONDITIONS_MAX)
                return plan_fail(error, PLAN_ERROR_INVALID, "%sindex: a system call has arguments 0 to 5", path);
        for (gsize i = 0; i < G_N_ELEMENTS(operators); i++)
                if (g_str_equal(operators[i].name, op)) {
                        ret->op = operators[i].op;
                        return TRUE;
                }
        return plan_fail(error, PLAN_ERROR_INVALID, "%sop: unknown operator \"%s\"", path, op);
}

/*
 * Conditions on different arguments must all hold; when one argument has several, each condition is
 * a rule of its own, because that is what runtimes have made of such lists since they exist.
 */
static gboolean add_with_conditions(SeccompProfile *profile, SeccompRule *rule, const GArray *conditions) {
        guint seen = 0;
        gboolean repeated = FALSE;

        for (guint i = 0; i < conditions->len; i++) {
                guint bit = 1U << g_array_index(conditions, SeccompCondition, i).index;

                repeated = repeated || (seen & bit);
                seen |= bit;
        }
        if (!repeated) {
                rule->n = conditions->len;
                for (guint i = 0; i < conditions->len; i++)
                        rule->conditions[i] = g_array_index(conditions, SeccompCondition, i);
                seccomp_profile_add(profile, rule);
                return TRUE;
        }
        rule->n = 1;
        for (guint i = 0; i < conditions->len; i++) {
                rule->conditions[0] = g_array_index(conditions, SeccompCondition, i);
                seccomp_profile_add(profile, rule);
        }
        return TRUE;
}

static gboolean parse_rule(SeccompProfile *profile, JsonObject *object, const char *path, gboolean listening,
                           GError **error) {
        g_autoptr(GArray) conditions = g_array_new(FALSE, TRUE, sizeof(SeccompCondition));
        g_autofree char *args_path = g_strconcat(path, "args", NULL);
        g_autoptr(GPtrArray) names = NULL;
        JsonArray *args = NULL;
        SeccompRule rule = {};

        if (!field_strings(object, path, "names", &names, error) || !field_array(object, path, "args", &args, error) ||
            !parse_action(object, path, "action", "errnoRet", listening, &rule.action, error))
                return FALSE;
        if (!names || names->len == 0)
                return plan_fail(error, PLAN_ERROR_INVALID, "%snames: is missing or empty", path);
        for (guint i = 0; args && i < json_array_get_length(args); i++) {
                g_autofree char *condition_path = g_strdup_printf("%s[%u].", args_path, i);
                SeccompCondition condition;
                JsonObject *o;

                if (!element_object(args, args_path, i, &o, error) ||
                    !parse_condition(o, condition_path, &condition, error))
                        return FALSE;
                g_array_append_val(conditions, condition);
        }
        for (guint i = 0; i < names->len; i++) {
                rule.name = names->pdata[i];
                if (!add_with_conditions(profile, &rule, conditions))
                        return FALSE;
        }
        return TRUE;
}

/* The listener gets its descriptor by this call, which therefore cannot wait for the listener. */
static gboolean check_notified(const SeccompProfile *profile, const char *path, GError **error) {
        if (profile->default_action == SECCOMP_RET_USER_NOTIF)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "%sdefaultAction: SCMP_ACT_NOTIFY would ask for the calls that reach the listener",
                                 path);
        for (guint i = 0; i < profile->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);

                if (rule->action == SECCOMP_RET_USER_NOTIF && g_str_equal(rule->name, "sendmsg"))
                        return plan_fail(error, PLAN_ERROR_INVALID,
                                         "%ssyscalls: SCMP_ACT_NOTIFY for sendmsg, which reaches the listener", path);
        }
        return TRUE;
}

static gboolean parse_profile(SeccompProfile *ret, JsonObject *object, const char *path, gboolean listening,
                              GError **error) {
        g_autofree char *syscalls_path = g_strconcat(path, "syscalls", NULL);
        guint32 action = SECCOMP_RET_KILL_PROCESS;
        JsonArray *syscalls = NULL;

        if (!parse_action(object, path, "defaultAction", "defaultErrnoRet", listening, &action, error) ||
            !field_array(object, path, "syscalls", &syscalls, error))
                return FALSE;
        seccomp_profile_init(ret, action);
        if (!parse_flags(ret, object, path, error) || !parse_arches(ret, object, path, error))
                return FALSE;
        for (guint i = 0; syscalls && i < json_array_get_length(syscalls); i++) {
                g_autofree char *rule_path = g_strdup_printf("%s[%u].", syscalls_path, i);
                JsonObject *o;

                if (!element_object(syscalls, syscalls_path, i, &o, error) ||
                    !parse_rule(ret, o, rule_path, listening, error))
                        return FALSE;
        }
        return !listening || check_notified(ret, path, error);
}

/**
 * seccomp_profile_parse() - Reads a profile.
 * @object: linux.seccomp; names in @ret point into it
 * @path: "linux.seccomp." for messages
 */
gboolean seccomp_profile_parse(SeccompProfile *ret, JsonObject *object, const char *path, GError **error) {
        const char *listener = NULL, *metadata = NULL;

        if (!field_string(object, path, "listenerPath", &listener, error) ||
            !field_string(object, path, "listenerMetadata", &metadata, error))
                return FALSE;
        if ((listener && *listener) || (metadata && *metadata))
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%slistener%s: not supported", path,
                                 listener && *listener ? "Path" : "Metadata");
        return parse_profile(ret, object, path, FALSE, error);
}

/**
 * seccomp_profile_parse_listening() - Reads a profile that may hand calls to a listener.
 * @ret_listener, @ret_metadata: borrowed; NULL where the profile has none
 */
gboolean seccomp_profile_parse_listening(SeccompProfile *ret, JsonObject *object, const char *path,
                                         const char **ret_listener, const char **ret_metadata, GError **error) {
        *ret_listener = *ret_metadata = NULL;
        if (!field_string(object, path, "listenerPath", ret_listener, error) ||
            !field_string(object, path, "listenerMetadata", ret_metadata, error))
                return FALSE;
        if (*ret_listener && !**ret_listener)
                *ret_listener = NULL;
        return parse_profile(ret, object, path, *ret_listener != NULL, error);
}
