/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.devices as DevicePolicy and DeviceAllow of the container's systemd unit.
 *
 * A container may make any node (mknod is harmless) but open only the standard pseudo devices and
 * what rules allow; that holds also when the specification has no rules, because the default
 * capabilities contain CAP_MKNOD. systemd keeps an allow list, so rules are folded in order into
 * one: a refusal of everything empties it, an allowance of everything ends it. A refusal that takes
 * something out of the middle of an allowance cannot be told to systemd and is not supported.
 */

#include <string.h>

#include "plan/build-internal.h"

#define DEVICES "linux.resources.devices"

/* One rule; -1 is any number, type 'a' is both. */
typedef struct DeviceRule {
        gboolean allow;
        char type;
        gint64 major, minor;
        char access[4];
} DeviceRule;

static gboolean parse_access(const char *field, const char *access, char ret[4], GError **error) {
        gsize n = 0;

        if (!access || !*access)
                access = "rwm";
        if (strspn(access, "rwm") != strlen(access))
                return plan_fail(error, PLAN_ERROR_INVALID, "%saccess: \"%s\" is not made of r, w and m", field,
                                 access);
        for (const char *p = "rwm"; *p; p++)
                if (strchr(access, *p))
                        ret[n++] = *p;
        ret[n] = '\0';
        return TRUE;
}

static gboolean parse_rule(JsonObject *object, guint i, DeviceRule *ret, GError **error) {
        g_autofree char *field = g_strdup_printf(DEVICES "[%u].", i);
        const char *type = NULL, *access = NULL;

        *ret = (DeviceRule){ .type = 'a', .major = -1, .minor = -1 };
        if (!field_given(object, "allow"))
                return plan_fail(error, PLAN_ERROR_INVALID, "%sallow: is missing", field);
        if (!field_bool(object, field, "allow", &ret->allow, error) ||
            !field_string(object, field, "type", &type, error) ||
            !field_string(object, field, "access", &access, error) ||
            !field_int(object, field, "major", -1, G_MAXUINT32, &ret->major, error) ||
            !field_int(object, field, "minor", -1, G_MAXUINT32, &ret->minor, error))
                return FALSE;
        if (type && *type) {
                if (strlen(type) != 1 || !strchr("abcu", *type))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%stype: \"%s\" is not one of a, b, c", field,
                                         type);
                ret->type = *type == 'u' ? 'c' : *type;
        }
        if (ret->type == 'a' && (ret->major >= 0 || ret->minor >= 0))
                return plan_fail(error, PLAN_ERROR_INVALID, "%stype: numbers need a type", field);
        if (ret->major < 0 && ret->minor >= 0)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%sminor: without a major number is not supported",
                                 field);
        return parse_access(field, access, ret->access, error);
}

static gboolean is_everything(const DeviceRule *rule) {
        return rule->type == 'a' && g_str_equal(rule->access, "rwm");
}

static gboolean same_devices(const DeviceRule *a, const DeviceRule *b) {
        return a->type == b->type && a->major == b->major && a->minor == b->minor;
}

static gboolean overlap(const DeviceRule *a, const DeviceRule *b) {
        return (a->type == b->type || a->type == 'a' || b->type == 'a') &&
               (a->major == b->major || a->major < 0 || b->major < 0) &&
               (a->minor == b->minor || a->minor < 0 || b->minor < 0);
}

/* Takes a refusal out of the list where the list has exactly these devices. */
static gboolean fold_deny(GArray *list, const DeviceRule *rule, guint i, GError **error) {
        for (guint j = list->len; j-- > 0;) {
                DeviceRule *r = &g_array_index(list, DeviceRule, j);
                gsize n = 0;

                if (!overlap(r, rule))
                        continue;
                if (!same_devices(r, rule))
                        return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                         DEVICES
                                         "[%u].allow: refusing a part of what an earlier rule allows is not supported",
                                         i);
                for (const char *p = r->access; *p; p++)
                        if (!strchr(rule->access, *p))
                                r->access[n++] = *p;
                r->access[n] = '\0';
                if (n == 0)
                        g_array_remove_index(list, j);
        }
        return TRUE;
}

static gboolean fold(GArray *list, const DeviceRule *rule, guint i, gboolean *open, GError **error) {
        if (is_everything(rule)) {
                g_array_set_size(list, 0);
                *open = rule->allow;
                return TRUE;
        }
        if (rule->allow) {
                if (!*open)
                        g_array_append_vals(list, rule, 1);
                return TRUE;
        }
        if (*open)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 DEVICES "[%u].allow: refusing a part of everything is not supported", i);
        return fold_deny(list, rule, i, error);
}

static void add_allow(GVariantBuilder *builder, const DeviceRule *rule, char type) {
        const char *kind = type == 'b' ? "block" : "char";
        g_autofree char *name = NULL;

        if (rule->major < 0)
                name = g_strconcat(kind, "-*", NULL);
        else if (rule->minor < 0)
                name = g_strdup_printf("%s-%u", kind, (guint)rule->major);
        else
                name = g_strdup_printf("/dev/%s/%u:%u", kind, (guint)rule->major, (guint)rule->minor);
        g_variant_builder_add(builder, "(ss)", name, rule->access);
}

static GVariant *allow_list(const GArray *list) {
        static const DeviceRule make_any = { .type = 'a', .major = -1, .minor = -1, .access = "m" };
        GVariantBuilder builder;

        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(ss)"));
        for (guint i = 0; i <= list->len; i++) {
                const DeviceRule *rule = i == 0 ? &make_any : &g_array_index(list, DeviceRule, i - 1);

                if (rule->type != 'b')
                        add_allow(&builder, rule, 'c');
                if (rule->type != 'c')
                        add_allow(&builder, rule, 'b');
        }
        return g_variant_builder_end(&builder);
}

/** build_devices_policy() - Section "Allowed Device list"; without rules, the standard devices. */
gboolean build_devices_policy(Build *b, JsonObject *resources, GError **error) {
        g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(DeviceRule));
        JsonArray *array = NULL;
        gboolean open = FALSE;
        gboolean asked;

        if (!field_array(resources, "linux.resources.", "devices", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                DeviceRule rule;
                JsonObject *object;

                if (!element_object(array, DEVICES, i, &object, error) || !parse_rule(object, i, &rule, error) ||
                    !fold(list, &rule, i, &open, error))
                        return FALSE;
        }
        if (open)
                return TRUE;
        asked = array && json_array_get_length(array) > 0; /* what nobody asked for needs no controller */
        build_property(b, "DevicePolicy", g_variant_new_string("closed"), asked ? "devices" : "", asked ? DEVICES : "");
        build_property(b, "DeviceAllow", allow_list(list), asked ? "devices" : "", asked ? DEVICES : "");
        return TRUE;
}
