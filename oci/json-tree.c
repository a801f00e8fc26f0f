/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The part of json-glib that plan/ and davit-oci use, on GLib alone.
 *
 * davit-oci is started for every step of a container's life, and the library would bring GObject, GIO and all they link
 * into each of them: more than a millisecond before main(). Declarations and meaning are those of json-glib 1.6; only
 * trees are here, and their text. The parser is plan/parse.c as everywhere.
 */

#include <json-glib/json-glib.h>
#include <string.h>

struct _JsonNode {
        gint references;
        JsonNodeType type;
        GType value_type; /* of JSON_NODE_VALUE */
        union {
                JsonObject *object;
                JsonArray *array;
                char *string;
                gint64 integer;
                double number;
                gboolean boolean;
        } data;
};

typedef struct Member {
        char *name;
        JsonNode *node;
} Member;

struct _JsonObject {
        gint references;
        GPtrArray *members;  /* Member, in the order they came */
        GHashTable *by_name; /* of names the members own */
};

struct _JsonArray {
        gint references;
        GPtrArray *elements; /* JsonNode */
};

/* nodes */

JsonNode *json_node_alloc(void) {
        JsonNode *node = g_new0(JsonNode, 1);

        node->references = 1;
        node->type = JSON_NODE_NULL;
        return node;
}

static void node_done(JsonNode *node) {
        if (node->type == JSON_NODE_OBJECT && node->data.object)
                json_object_unref(node->data.object);
        else if (node->type == JSON_NODE_ARRAY && node->data.array)
                json_array_unref(node->data.array);
        else if (node->type == JSON_NODE_VALUE && node->value_type == G_TYPE_STRING)
                g_free(node->data.string);
        node->data.integer = 0;
        node->value_type = G_TYPE_INVALID;
}

static JsonNode *node_init(JsonNode *node, JsonNodeType type, GType value_type) {
        node_done(node);
        node->type = type;
        node->value_type = value_type;
        return node;
}

JsonNode *json_node_new(JsonNodeType type) {
        return node_init(json_node_alloc(), type, G_TYPE_INVALID);
}

JsonNode *json_node_init_null(JsonNode *node) {
        return node_init(node, JSON_NODE_NULL, G_TYPE_INVALID);
}

JsonNode *json_node_init_object(JsonNode *node, JsonObject *object) {
        JsonObject *ref = object ? json_object_ref(object) : NULL;

        (void)node_init(node, JSON_NODE_OBJECT, G_TYPE_INVALID);
        node->data.object = ref;
        return node;
}

JsonNode *json_node_init_array(JsonNode *node, JsonArray *array) {
        JsonArray *ref = array ? json_array_ref(array) : NULL;

        (void)node_init(node, JSON_NODE_ARRAY, G_TYPE_INVALID);
        node->data.array = ref;
        return node;
}

JsonNode *json_node_init_string(JsonNode *node, const char *value) {
        char *copy = g_strdup(value);

        (void)node_init(node, JSON_NODE_VALUE, G_TYPE_STRING);
        node->data.string = copy;
        return node;
}

JsonNode *json_node_init_int(JsonNode *node, gint64 value) {
        (void)node_init(node, JSON_NODE_VALUE, G_TYPE_INT64);
        node->data.integer = value;
        return node;
}

JsonNode *json_node_init_double(JsonNode *node, gdouble value) {
        (void)node_init(node, JSON_NODE_VALUE, G_TYPE_DOUBLE);
        node->data.number = value;
        return node;
}

JsonNode *json_node_init_boolean(JsonNode *node, gboolean value) {
        (void)node_init(node, JSON_NODE_VALUE, G_TYPE_BOOLEAN);
        node->data.boolean = value;
        return node;
}

void json_node_set_string(JsonNode *node, const gchar *value) {
        (void)json_node_init_string(node, value);
}

void json_node_take_object(JsonNode *node, JsonObject *object) {
        (void)node_init(node, JSON_NODE_OBJECT, G_TYPE_INVALID);
        node->data.object = object;
}

void json_node_take_array(JsonNode *node, JsonArray *array) {
        (void)node_init(node, JSON_NODE_ARRAY, G_TYPE_INVALID);
        node->data.array = array;
}

void json_node_unref(JsonNode *node) {
        if (--node->references > 0)
                return;
        node_done(node);
        g_free(node);
}

/* As json-glib does it: what a node holds is shared, not copied. */
JsonNode *json_node_copy(JsonNode *node) {
        switch (node->type) {
        case JSON_NODE_OBJECT:
                return json_node_init_object(json_node_alloc(), node->data.object);
        case JSON_NODE_ARRAY:
                return json_node_init_array(json_node_alloc(), node->data.array);
        case JSON_NODE_NULL:
                return json_node_alloc();
        default:
                break;
        }
        switch (node->value_type) {
        case G_TYPE_STRING:
                return json_node_init_string(json_node_alloc(), node->data.string);
        case G_TYPE_INT64:
                return json_node_init_int(json_node_alloc(), node->data.integer);
        case G_TYPE_DOUBLE:
                return json_node_init_double(json_node_alloc(), node->data.number);
        default:
                return json_node_init_boolean(json_node_alloc(), node->data.boolean);
        }
}

JsonNodeType json_node_get_node_type(JsonNode *node) {
        return node->type;
}

GType json_node_get_value_type(JsonNode *node) {
        return node->type == JSON_NODE_VALUE ? node->value_type : G_TYPE_INVALID;
}

JsonObject *json_node_get_object(JsonNode *node) {
        return node->type == JSON_NODE_OBJECT ? node->data.object : NULL;
}

JsonArray *json_node_get_array(JsonNode *node) {
        return node->type == JSON_NODE_ARRAY ? node->data.array : NULL;
}

const gchar *json_node_get_string(JsonNode *node) {
        return json_node_get_value_type(node) == G_TYPE_STRING ? node->data.string : NULL;
}

gint64 json_node_get_int(JsonNode *node) {
        switch (json_node_get_value_type(node)) {
        case G_TYPE_INT64:
                return node->data.integer;
        case G_TYPE_DOUBLE:
                return (gint64)node->data.number;
        case G_TYPE_BOOLEAN:
                return node->data.boolean;
        default:
                return 0;
        }
}

gdouble json_node_get_double(JsonNode *node) {
        return json_node_get_value_type(node) == G_TYPE_DOUBLE ? node->data.number : (gdouble)json_node_get_int(node);
}

gboolean json_node_get_boolean(JsonNode *node) {
        return json_node_get_value_type(node) == G_TYPE_BOOLEAN ? node->data.boolean : json_node_get_int(node) != 0;
}

/* objects */

static void member_free(gpointer data) {
        Member *member = data;

        json_node_unref(member->node);
        g_free(member->name);
        g_free(member);
}

JsonObject *json_object_new(void) {
        JsonObject *object = g_new0(JsonObject, 1);

        object->references = 1;
        object->members = g_ptr_array_new_with_free_func(member_free);
        object->by_name = g_hash_table_new(g_str_hash, g_str_equal);
        return object;
}

JsonObject *json_object_ref(JsonObject *object) {
        object->references++;
        return object;
}

void json_object_unref(JsonObject *object) {
        if (--object->references > 0)
                return;
        g_hash_table_unref(object->by_name);
        g_ptr_array_unref(object->members);
        g_free(object);
}

gboolean json_object_has_member(JsonObject *object, const gchar *name) {
        return g_hash_table_contains(object->by_name, name);
}

JsonNode *json_object_get_member(JsonObject *object, const gchar *name) {
        Member *member = g_hash_table_lookup(object->by_name, name);

        return member ? member->node : NULL;
}

void json_object_set_member(JsonObject *object, const gchar *name, JsonNode *node) {
        Member *member = g_hash_table_lookup(object->by_name, name);

        if (member) {
                json_node_unref(member->node);
                member->node = node;
                return;
        }
        member = g_new(Member, 1);
        *member = (Member){ .name = g_strdup(name), .node = node };
        g_ptr_array_add(object->members, member);
        g_hash_table_insert(object->by_name, member->name, member);
}

void json_object_remove_member(JsonObject *object, const gchar *name) {
        Member *member = g_hash_table_lookup(object->by_name, name);

        if (!member)
                return;
        g_hash_table_remove(object->by_name, name);
        g_ptr_array_remove(object->members, member);
}

guint json_object_get_size(JsonObject *object) {
        return object->members->len;
}

void json_object_set_string_member(JsonObject *object, const gchar *name, const gchar *value) {
        json_object_set_member(object, name, json_node_init_string(json_node_alloc(), value));
}

void json_object_set_int_member(JsonObject *object, const gchar *name, gint64 value) {
        json_object_set_member(object, name, json_node_init_int(json_node_alloc(), value));
}

void json_object_set_object_member(JsonObject *object, const gchar *name, JsonObject *value) {
        JsonNode *node = json_node_alloc();

        json_node_take_object(node, value);
        json_object_set_member(object, name, node);
}

void json_object_set_array_member(JsonObject *object, const gchar *name, JsonArray *value) {
        JsonNode *node = json_node_alloc();

        json_node_take_array(node, value);
        json_object_set_member(object, name, node);
}

JsonObject *json_object_get_object_member(JsonObject *object, const gchar *name) {
        JsonNode *node = json_object_get_member(object, name);

        return node ? json_node_get_object(node) : NULL;
}

JsonArray *json_object_get_array_member(JsonObject *object, const gchar *name) {
        JsonNode *node = json_object_get_member(object, name);

        return node ? json_node_get_array(node) : NULL;
}

/* An iterator is ours as far as it holds: the object and the next index. */
typedef struct Iterator {
        JsonObject *object;
        gpointer next;
} Iterator;
G_STATIC_ASSERT(sizeof(Iterator) <= sizeof(JsonObjectIter));

void json_object_iter_init(JsonObjectIter *iter, JsonObject *object) {
        *(Iterator *)(gpointer)iter = (Iterator){ .object = object };
}

gboolean json_object_iter_next(JsonObjectIter *iter, const gchar **name, JsonNode **node) {
        Iterator *i = (gpointer)iter;
        guint at = GPOINTER_TO_UINT(i->next);
        Member *member;

        if (at >= i->object->members->len)
                return FALSE;
        member = i->object->members->pdata[at];
        i->next = GUINT_TO_POINTER(at + 1);
        if (name)
                *name = member->name;
        if (node)
                *node = member->node;
        return TRUE;
}

void json_object_iter_init_ordered(JsonObjectIter *iter, JsonObject *object) {
        json_object_iter_init(iter, object);
}

gboolean json_object_iter_next_ordered(JsonObjectIter *iter, const gchar **name, JsonNode **node) {
        return json_object_iter_next(iter, name, node);
}

/* arrays */

JsonArray *json_array_sized_new(guint n) {
        JsonArray *array = g_new0(JsonArray, 1);

        array->references = 1;
        array->elements = g_ptr_array_new_full(n, (GDestroyNotify)json_node_unref);
        return array;
}

JsonArray *json_array_new(void) {
        return json_array_sized_new(0);
}

JsonArray *json_array_ref(JsonArray *array) {
        array->references++;
        return array;
}

void json_array_unref(JsonArray *array) {
        if (--array->references > 0)
                return;
        g_ptr_array_unref(array->elements);
        g_free(array);
}

guint json_array_get_length(JsonArray *array) {
        return array->elements->len;
}

JsonNode *json_array_get_element(JsonArray *array, guint i) {
        return i < array->elements->len ? array->elements->pdata[i] : NULL;
}

void json_array_add_element(JsonArray *array, JsonNode *node) {
        g_ptr_array_add(array->elements, node);
}

void json_array_add_string_element(JsonArray *array, const gchar *value) {
        json_array_add_element(array, json_node_init_string(json_node_alloc(), value));
}

/* text */

static void write_node(GString *s, JsonNode *node, int depth); /* depth: -1 for one line */

static void write_string(GString *s, const char *text) {
        static const char plain[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";

        g_string_append_c(s, '"');
        for (const guchar *p = (const guchar *)text; *p; p++) {
                const char *at = strchr(plain, *p);

                if (at)
                        g_string_append_printf(s, "\\%c", letters[at - plain]);
                else if (*p < 0x20 || *p == 0x7f)
                        g_string_append_printf(s, "\\u%04x", *p);
                else
                        g_string_append_c(s, (char)*p);
        }
        g_string_append_c(s, '"');
}

static void write_break(GString *s, int depth) {
        if (depth < 0)
                return;
        g_string_append_c(s, '\n');
        for (int i = 0; i < depth; i++)
                g_string_append(s, "  ");
}

static void write_object(GString *s, JsonObject *object, int depth) {
        int inner = depth < 0 ? -1 : depth + 1;

        g_string_append_c(s, '{');
        for (guint i = 0; i < object->members->len; i++) {
                const Member *member = object->members->pdata[i];

                if (i > 0)
                        g_string_append_c(s, ',');
                write_break(s, inner);
                write_string(s, member->name);
                g_string_append(s, depth < 0 ? ":" : " : ");
                write_node(s, member->node, inner);
        }
        if (object->members->len > 0)
                write_break(s, depth);
        g_string_append_c(s, '}');
}

static void write_array(GString *s, JsonArray *array, int depth) {
        int inner = depth < 0 ? -1 : depth + 1;

        g_string_append_c(s, '[');
        for (guint i = 0; i < array->elements->len; i++) {
                if (i > 0)
                        g_string_append_c(s, ',');
                write_break(s, inner);
                write_node(s, array->elements->pdata[i], inner);
        }
        if (array->elements->len > 0)
                write_break(s, depth);
        g_string_append_c(s, ']');
}

static void write_value(GString *s, const JsonNode *node) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];

        switch (node->value_type) {
        case G_TYPE_STRING:
                write_string(s, node->data.string ? node->data.string : "");
                break;
        case G_TYPE_INT64:
                g_string_append_printf(s, "%" G_GINT64_FORMAT, node->data.integer);
                break;
        case G_TYPE_BOOLEAN:
                g_string_append(s, node->data.boolean ? "true" : "false");
                break;
        default:
                g_string_append(s, g_ascii_dtostr(number, sizeof(number), node->data.number));
        }
}

static void write_node(GString *s, JsonNode *node, int depth) {
        if (node->type == JSON_NODE_OBJECT && node->data.object)
                write_object(s, node->data.object, depth);
        else if (node->type == JSON_NODE_ARRAY && node->data.array)
                write_array(s, node->data.array, depth);
        else if (node->type == JSON_NODE_VALUE)
                write_value(s, node);
        else
                g_string_append(s, "null");
}

char *json_to_string(JsonNode *node, gboolean pretty) {
        GString *s = g_string_new(NULL);

        write_node(s, node, pretty ? 0 : -1);
        return g_string_free(s, FALSE);
}
