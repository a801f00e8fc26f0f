/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON trees as values: deep copies, RFC 7386 merge patches, text.
 *
 * json-glib's json_node_copy() shares objects and arrays, so a changed copy would change its
 * original; everything returned here is wholly the caller's. Depth is bounded by the parser that
 * made the trees. It never interprets a field.
 */

#include "plan/spec.h"

static JsonNode *copy_node(JsonNode *node);

static JsonNode *copy_array(JsonArray *from) {
        g_autoptr(JsonArray) array = json_array_sized_new(json_array_get_length(from));

        for (guint i = 0; i < json_array_get_length(from); i++)
                json_array_add_element(array, copy_node(json_array_get_element(from, i)));
        return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *copy_object(JsonObject *from) {
        g_autoptr(JsonObject) object = json_object_new();
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;

        json_object_iter_init_ordered(&iter, from);
        while (json_object_iter_next_ordered(&iter, &key, &value))
                json_object_set_member(object, key, copy_node(value));
        return json_node_init_object(json_node_alloc(), object);
}

static JsonNode *copy_node(JsonNode *node) {
        if (JSON_NODE_HOLDS_OBJECT(node))
                return copy_object(json_node_get_object(node));
        if (JSON_NODE_HOLDS_ARRAY(node))
                return copy_array(json_node_get_array(node));
        return json_node_copy(node);
}

/* RFC 7386 section 2: null removes, objects merge, everything else replaces. */
static void merge_object(JsonObject *target, JsonObject *patch) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;

        json_object_iter_init_ordered(&iter, patch);
        while (json_object_iter_next_ordered(&iter, &key, &value)) {
                JsonNode *old = json_object_get_member(target, key);

                if (JSON_NODE_HOLDS_NULL(value)) {
                        if (old)
                                json_object_remove_member(target, key);
                } else if (JSON_NODE_HOLDS_OBJECT(value)) {
                        if (!old || !JSON_NODE_HOLDS_OBJECT(old))
                                json_object_set_object_member(target, key, json_object_new());
                        merge_object(json_object_get_object_member(target, key), json_node_get_object(value));
                } else
                        json_object_set_member(target, key, copy_node(value));
        }
}

/**
 * spec_merge_patch() - Applies a merge patch (RFC 7386).
 * @target: borrowed, not changed
 * @patch: borrowed
 *
 * Returns a new tree that shares nothing with either.
 */
JsonNode *spec_merge_patch(JsonNode *target, JsonNode *patch) {
        JsonNode *merged;

        if (!JSON_NODE_HOLDS_OBJECT(patch))
                return copy_node(patch);
        merged = JSON_NODE_HOLDS_OBJECT(target) ? copy_node(target)
                                                : json_node_init_object(json_node_alloc(), json_object_new());
        merge_object(json_node_get_object(merged), json_node_get_object(patch));
        return merged;
}

/** spec_copy() - A deep copy. */
JsonNode *spec_copy(JsonNode *spec) {
        return copy_node(spec);
}

/** spec_to_string() - Compact JSON text; free with g_free(). */
char *spec_to_string(JsonNode *spec) {
        return json_to_string(spec, FALSE);
}
