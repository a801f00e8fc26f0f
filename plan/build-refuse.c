/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a configuration may ask and Davit does not do.
 *
 * Each row is a field whose presence with any content is PLAN_ERROR_NOT_SUPPORTED; empty objects,
 * empty arrays, empty strings, zero and null ask for nothing and pass, unless a row says otherwise. Properties nobody
 * has defined are ignored, as the runtime-spec demands ("Extensibility").
 */

#include "plan/build-internal.h"

/* whether a node asks for something */
static gboolean asks(JsonNode *node) {
        JsonObjectIter iter;
        JsonNode *value;

        switch (json_node_get_node_type(node)) {
        case JSON_NODE_NULL:
                return FALSE;
        case JSON_NODE_ARRAY:
                return json_array_get_length(json_node_get_array(node)) > 0;
        case JSON_NODE_OBJECT:
                json_object_iter_init(&iter, json_node_get_object(node));
                while (json_object_iter_next(&iter, NULL, &value))
                        if (asks(value))
                                return TRUE;
                return FALSE;
        default:
                break;
        }
        switch (json_node_get_value_type(node)) {
        case G_TYPE_STRING:
                return *json_node_get_string(node) != '\0';
        case G_TYPE_BOOLEAN:
                return json_node_get_boolean(node);
        default:
                return TRUE;
        }
}

static gboolean refuse(JsonObject *object, const char *path, const char *const *names, GError **error) {
        for (; object && *names; names++) {
                JsonNode *node = json_object_get_member(object, *names);

                if (!node || !asks(node))
                        continue;
                if (JSON_NODE_HOLDS_OBJECT(node)) {
                        JsonObjectIter iter;
                        const char *key;
                        JsonNode *value;

                        json_object_iter_init(&iter, json_node_get_object(node));
                        while (json_object_iter_next(&iter, &key, &value))
                                if (asks(value))
                                        return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%s%s.%s: not supported",
                                                         path, *names, key);
                }
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "%s%s: not supported", path, *names);
        }
        return TRUE;
}

/* An interface with nothing said about it is to be moved, too. */
static gboolean refuse_devices(Build *b, GError **error) {
        JsonObject *devices = NULL;
        JsonObjectIter iter;
        const char *name;

        if (!field_object(b->linux_, "linux.", "netDevices", &devices, error))
                return FALSE;
        if (!devices)
                return TRUE;
        json_object_iter_init(&iter, devices);
        return !json_object_iter_next(&iter, &name, NULL) ||
               plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "linux.netDevices.%s: not supported", name);
}

/** build_refuse() - Refuses what is known and not done; resources are refused where they are read. */
gboolean build_refuse(Build *b, GError **error) {
        static const char *const in_root[] = { "windows", "solaris", "vm", "zos", "freebsd", NULL };
        static const char *const in_process[] = { "commandLine", NULL };
        static const char *const in_linux[] = { "intelRdt", NULL };
        static const char *const of_runtime[] = { "hooks", NULL }, *const of_runtime_linux[] = { "cgroupsPath", NULL };

        /* davit-oci runs hooks and makes the cgroup; with a manager systemd has the one and nobody, or another runtime,
         * the other. */
        if (!b->context->bundle && !b->context->runtime && !refuse(b->root, "", of_runtime, error))
                return FALSE;
        if (!b->context->bundle && !refuse(b->linux_, "linux.", of_runtime_linux, error))
                return FALSE;
        return refuse(b->root, "", in_root, error) && refuse(b->process, "process.", in_process, error) &&
               refuse(b->linux_, "linux.", in_linux, error) && refuse_devices(b, error);
}
