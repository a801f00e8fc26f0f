/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci features: what this runtime knows (runtime-spec features.md), whatever this host has of it.
 */

#include <stdio.h>

#include "oci/container.h"
#include "plan/capabilities.h"
#include "plan/fields.h"
#include "plan/mount-options.h"
#include "plan/seccomp.h"
#include "shim/hook.h"

static const GOptionEntry entries[] = { {} };

static void set_strings(JsonObject *object, const char *name, const char *const *values) {
        field_set_strings(object, name, values, g_strv_length((char **)values));
}

static void set_true(JsonObject *object, const char *name) {
        json_object_set_member(object, name, json_node_init_boolean(json_node_alloc(), TRUE));
}

static void add_capabilities(JsonObject *object) {
        JsonArray *array = field_ensure_array(object, "capabilities");

        for (int i = 0; capability_to_name(i); i++)
                json_array_add_string_element(array, capability_to_name(i));
}

static void add_linux(JsonObject *root) {
        static const char *const namespaces[] = { "cgroup", "ipc",  "mount", "network", "pid",
                                                  "time",   "user", "uts",   NULL };
        static const char *const cgroup[] = { "v1", "v2", "systemd", NULL };
        JsonObject *linux_ = field_ensure_object(root, "linux"), *seccomp;

        set_strings(linux_, "namespaces", namespaces);
        add_capabilities(linux_);
        for (const char *const *name = cgroup; *name; name++)
                set_true(field_ensure_object(linux_, "cgroup"), *name);
        seccomp = field_ensure_object(linux_, "seccomp");
        set_true(seccomp, "enabled");
        seccomp_known(seccomp);
        set_true(field_ensure_object(linux_, "apparmor"), "enabled");
        set_true(field_ensure_object(linux_, "selinux"), "enabled");
        set_true(field_ensure_object(field_ensure_object(linux_, "mountExtensions"), "idmap"), "enabled");
        json_object_set_member(field_ensure_object(linux_, "intelRdt"), "enabled",
                               json_node_init_boolean(json_node_alloc(), FALSE));
}

/** verb_features() - davit-oci features */
int verb_features(Oci *oci _unused_, int argc, char *argv[], GError **error) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *root = json_object_new();
        g_autofree char *text = NULL;
        JsonArray *array;

        json_node_take_object(node, root);
        if (!oci_parse(entries, NULL, "Shows what this runtime knows.", &argc, &argv, error) ||
            !take_nothing(argc, argv, error))
                return -1;
        json_object_set_string_member(root, "ociVersionMin", "1.0.0");
        json_object_set_string_member(root, "ociVersionMax", OCI_VERSION);
        array = field_ensure_array(root, "hooks");
        for (guint32 stage = PLAN_HOOK_PRESTART; stage < _PLAN_HOOK_STAGE_MAX; stage++)
                json_array_add_string_element(array, hook_stage_name(stage));
        mount_options_known(field_ensure_array(root, "mountOptions"));
        add_linux(root);
        text = json_to_string(node, TRUE);
        return printf("%s\n", text) < 0;
}
