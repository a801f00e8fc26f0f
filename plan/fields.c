/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Typed access to members of JSON objects.
 *
 * Borrowed trees in, borrowed values out: nothing here takes ownership, except that lists come as
 * pointer arrays the caller frees. A member that is missing or null is "not given" and leaves the
 * result as the caller had set it; a member of the wrong type is an error that names its path.
 * It never converts one type to another, with the one exception of integral doubles ("1e3").
 */

#include <math.h>

#include "plan/fields.h"

static const char *type_name(JsonNode *node) {
        switch (json_node_get_node_type(node)) {
        case JSON_NODE_OBJECT:
                return "an object";
        case JSON_NODE_ARRAY:
                return "an array";
        case JSON_NODE_NULL:
                return "null";
        default:
                break;
        }
        switch (json_node_get_value_type(node)) {
        case G_TYPE_STRING:
                return "a string";
        case G_TYPE_BOOLEAN:
                return "a boolean";
        default:
                return "a number";
        }
}

static JsonNode *member(JsonObject *object, const char *name) {
        JsonNode *node = object ? json_object_get_member(object, name) : NULL;

        return node && json_node_get_node_type(node) != JSON_NODE_NULL ? node : NULL;
}

static gboolean wrong_type(const char *path, const char *name, const char *expected, JsonNode *node, GError **error) {
        return plan_fail(error, PLAN_ERROR_INVALID, "%s%s: expected %s, found %s", path, name, expected,
                         type_name(node));
}

static gboolean node_is_string(JsonNode *node) {
        return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING;
}

/** field_given() - Whether a member is there and not null. */
gboolean field_given(JsonObject *object, const char *name) {
        return member(object, name) != NULL;
}

/** field_object() - A member that must be an object. */
gboolean field_object(JsonObject *object, const char *path, const char *name, JsonObject **ret, GError **error) {
        JsonNode *node = member(object, name);

        if (!node)
                return TRUE;
        if (!JSON_NODE_HOLDS_OBJECT(node))
                return wrong_type(path, name, "an object", node, error);
        *ret = json_node_get_object(node);
        return TRUE;
}

/** field_array() - A member that must be an array. */
gboolean field_array(JsonObject *object, const char *path, const char *name, JsonArray **ret, GError **error) {
        JsonNode *node = member(object, name);

        if (!node)
                return TRUE;
        if (!JSON_NODE_HOLDS_ARRAY(node))
                return wrong_type(path, name, "an array", node, error);
        *ret = json_node_get_array(node);
        return TRUE;
}

/** field_string() - A member that must be a string. */
gboolean field_string(JsonObject *object, const char *path, const char *name, const char **ret, GError **error) {
        JsonNode *node = member(object, name);

        if (!node)
                return TRUE;
        if (!node_is_string(node))
                return wrong_type(path, name, "a string", node, error);
        *ret = json_node_get_string(node);
        return TRUE;
}

/** field_bool() - A member that must be a boolean. */
gboolean field_bool(JsonObject *object, const char *path, const char *name, gboolean *ret, GError **error) {
        JsonNode *node = member(object, name);

        if (!node)
                return TRUE;
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
                return wrong_type(path, name, "a boolean", node, error);
        *ret = json_node_get_boolean(node);
        return TRUE;
}

/** node_int() - The integer in a node; doubles count when they are whole and exact. */
gboolean node_int(JsonNode *node, gint64 *ret) {
        double d;

        if (!JSON_NODE_HOLDS_VALUE(node))
                return FALSE;
        if (json_node_get_value_type(node) == G_TYPE_INT64) {
                *ret = json_node_get_int(node);
                return TRUE;
        }
        if (json_node_get_value_type(node) != G_TYPE_DOUBLE)
                return FALSE;
        d = json_node_get_double(node);
        if (!isfinite(d) || fabs(d) > 9007199254740992.0 || trunc(d) < d || trunc(d) > d)
                return FALSE;
        *ret = (gint64)d;
        return TRUE;
}

/** field_int() - A member that must be an integer of @min to @max, both included. */
gboolean field_int(JsonObject *object, const char *path, const char *name, gint64 min, gint64 max, gint64 *ret,
                   GError **error) {
        JsonNode *node = member(object, name);
        gint64 v;

        if (!node)
                return TRUE;
        if (!node_int(node, &v))
                return wrong_type(path, name, "an integer", node, error);
        if (v < min || v > max)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "%s%s: %" G_GINT64_FORMAT " is out of range (%" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                                 ")",
                                 path, name, v, min, max);
        *ret = v;
        return TRUE;
}

/** field_uint32() - A member that must be an unsigned 32-bit integer. */
gboolean field_uint32(JsonObject *object, const char *path, const char *name, guint32 *ret, GError **error) {
        gint64 v = *ret;

        if (!field_int(object, path, name, 0, G_MAXUINT32, &v, error))
                return FALSE;
        *ret = (guint32)v;
        return TRUE;
}

/**
 * field_uint64() - A member that must be an unsigned 64-bit integer.
 *
 * JSON trees hold signed integers only, so values above the signed range are kept in two's
 * complement (parse.c) and -1 reads as the largest value, which is what writers mean by it.
 */
gboolean field_uint64(JsonObject *object, const char *path, const char *name, guint64 *ret, GError **error) {
        gint64 v = (gint64)*ret;

        if (!field_int(object, path, name, G_MININT64, G_MAXINT64, &v, error))
                return FALSE;
        *ret = (guint64)v;
        return TRUE;
}

/** field_strings() - A member that must be an array of strings; *ret is new and holds borrowed strings, NULL when not
 * given. */
gboolean field_strings(JsonObject *object, const char *path, const char *name, GPtrArray **ret, GError **error) {
        g_autoptr(GPtrArray) strings = NULL;
        JsonArray *array = NULL;

        if (!field_array(object, path, name, &array, error))
                return FALSE;
        *ret = NULL;
        if (!array)
                return TRUE;
        strings = g_ptr_array_sized_new(json_array_get_length(array));
        for (guint i = 0; i < json_array_get_length(array); i++) {
                JsonNode *node = json_array_get_element(array, i);

                if (!node_is_string(node))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s%s[%u]: expected a string, found %s", path, name,
                                         i, type_name(node));
                g_ptr_array_add(strings, (gpointer)json_node_get_string(node));
        }
        *ret = g_steal_pointer(&strings);
        return TRUE;
}

/** field_named_value() - The number of a word that @field must have; NULL is an error, too. */
gboolean field_named_value(const NamedValue *names, const char *field, const char *name, guint64 *ret, GError **error) {
        if (!name)
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: is missing", field);
        for (; names->name; names++)
                if (g_str_equal(names->name, name)) {
                        *ret = names->value;
                        return TRUE;
                }
        return plan_fail(error, PLAN_ERROR_INVALID, "%s: unknown value \"%s\"", field, name);
}

/** field_map() - A member that must be an object of strings; *ret is new and holds key, value, key, value, borrowed. */
gboolean field_map(JsonObject *object, const char *path, const char *name, GPtrArray **ret, GError **error) {
        g_autoptr(GPtrArray) strings = NULL;
        JsonObject *map = NULL;
        JsonObjectIter iter;
        const char *key;
        JsonNode *node;

        if (!field_object(object, path, name, &map, error))
                return FALSE;
        *ret = NULL;
        if (!map)
                return TRUE;
        strings = g_ptr_array_new();
        json_object_iter_init(&iter, map);
        while (json_object_iter_next(&iter, &key, &node)) {
                if (!node_is_string(node))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s%s.%s: expected a string, found %s", path, name,
                                         key, type_name(node));
                g_ptr_array_add(strings, (gpointer)key);
                g_ptr_array_add(strings, (gpointer)json_node_get_string(node));
        }
        *ret = g_steal_pointer(&strings);
        return TRUE;
}

/** element_object() - Element @i of an array whose path (without index) is @path; it must be an object. */
gboolean element_object(JsonArray *array, const char *path, guint i, JsonObject **ret, GError **error) {
        JsonNode *node = json_array_get_element(array, i);

        if (!JSON_NODE_HOLDS_OBJECT(node))
                return plan_fail(error, PLAN_ERROR_INVALID, "%s[%u]: expected an object, found %s", path, i,
                                 type_name(node));
        *ret = json_node_get_object(node);
        return TRUE;
}

/** field_ensure_object() - The member object, made empty where it is missing or of another type. */
JsonObject *field_ensure_object(JsonObject *object, const char *name) {
        JsonNode *node = member(object, name);

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                json_object_set_object_member(object, name, json_object_new());
        return json_object_get_object_member(object, name);
}

/** field_ensure_array() - The member array, made empty where it is missing or of another type. */
JsonArray *field_ensure_array(JsonObject *object, const char *name) {
        JsonNode *node = member(object, name);

        if (!node || !JSON_NODE_HOLDS_ARRAY(node))
                json_object_set_array_member(object, name, json_array_new());
        return json_object_get_array_member(object, name);
}

/** field_set_strings() - Replaces a member by an array of @n strings, which are copied. */
void field_set_strings(JsonObject *object, const char *name, const char *const *values, gsize n) {
        JsonArray *array = json_array_sized_new((guint)n);

        for (gsize i = 0; i < n; i++)
                json_array_add_string_element(array, values[i]);
        json_object_set_array_member(object, name, array);
}
