/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON from images and requests.
 *
 * json-glib bounds neither depth nor size, takes more than JSON and lets the last of two equal keys win, so a scanner
 * of our own goes over the text first: strict RFC 8259 grammar, at most 32 levels, a bounded number of values, no NUL
 * in strings; and a document with a duplicate key is refused, because two programs could read it differently. Documents
 * belong to the caller as JsonNodes.
 */

#include "store/json.h"

#include <string.h>

#include "store/error.h"
#include "store/limits.h"

#define DEPTH_MAX 32U
#define VALUES_MAX 100000U

typedef struct {
        const char *at;
        const char *end;
        guint depth;
        guint values;
        guint members;
} Scan;

static gboolean scan_value(Scan *s);

static void scan_space(Scan *s) {
        while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
                s->at++;
}

static gboolean scan_char(Scan *s, char c) {
        scan_space(s);
        if (s->at >= s->end || *s->at != c)
                return FALSE;
        s->at++;
        return TRUE;
}

static gboolean scan_escape(Scan *s) {
        guint code = 0;

        if (s->at >= s->end)
                return FALSE;
        if (*s->at++ != 'u')
                return strchr("\"\\/bfnrt", s->at[-1]) != NULL && s->at[-1] != '\0';
        for (guint i = 0; i < 4; i++, s->at++) {
                int digit = s->at < s->end ? g_ascii_xdigit_value(*s->at) : -1;

                if (digit < 0)
                        return FALSE;
                code = code << 4 | (guint)digit;
        }
        return code != 0;
}

static gboolean scan_string(Scan *s) {
        if (!scan_char(s, '"'))
                return FALSE;
        while (s->at < s->end) {
                char c = *s->at++;

                if (c == '"')
                        return TRUE;
                if ((guint8)c < 0x20)
                        return FALSE;
                if (c == '\\' && !scan_escape(s))
                        return FALSE;
        }
        return FALSE;
}

static gboolean scan_digits(Scan *s) {
        const char *from = s->at;

        while (s->at < s->end && g_ascii_isdigit(*s->at))
                s->at++;
        return s->at > from;
}

static gboolean scan_number(Scan *s) {
        const char *from;

        if (s->at < s->end && *s->at == '-')
                s->at++;
        from = s->at;
        if (!scan_digits(s) || (*from == '0' && s->at - from > 1))
                return FALSE;
        if (s->at < s->end && *s->at == '.') {
                s->at++;
                if (!scan_digits(s))
                        return FALSE;
        }
        if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
                s->at++;
                if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
                        s->at++;
                return scan_digits(s);
        }
        return TRUE;
}

static gboolean scan_word(Scan *s, const char *word) {
        gsize size = strlen(word);

        if ((gsize)(s->end - s->at) < size || memcmp(s->at, word, size) != 0)
                return FALSE;
        s->at += size;
        return TRUE;
}

static gboolean scan_container(Scan *s, char close, gboolean keys) {
        s->at++;
        if (++s->depth > DEPTH_MAX)
                return FALSE;
        if (!scan_char(s, close)) {
                do {
                        if (keys && (!scan_string(s) || !scan_char(s, ':')))
                                return FALSE;
                        s->members += keys;
                        if (!scan_value(s))
                                return FALSE;
                } while (scan_char(s, ','));
                if (!scan_char(s, close))
                        return FALSE;
        }
        s->depth--;
        return TRUE;
}

static gboolean scan_value(Scan *s) {
        scan_space(s);
        if (s->at >= s->end || ++s->values > VALUES_MAX)
                return FALSE;
        switch (*s->at) {
        case '{':
                return scan_container(s, '}', TRUE);
        case '[':
                return scan_container(s, ']', FALSE);
        case '"':
                return scan_string(s);
        case 't':
                return scan_word(s, "true");
        case 'f':
                return scan_word(s, "false");
        case 'n':
                return scan_word(s, "null");
        default:
                return scan_number(s);
        }
}

static guint count_members(JsonNode *node) {
        guint n = 0;

        if (JSON_NODE_HOLDS_ARRAY(node)) {
                JsonArray *a = json_node_get_array(node);

                for (guint i = 0; i < json_array_get_length(a); i++)
                        n += count_members(json_array_get_element(a, i));
        } else if (JSON_NODE_HOLDS_OBJECT(node)) {
                JsonObjectIter iter;
                JsonNode *value;

                json_object_iter_init(&iter, json_node_get_object(node));
                while (json_object_iter_next(&iter, NULL, &value))
                        n += 1 + count_members(value);
        }
        return n;
}

/** json_parse() - parse one document; @what names it in messages */
JsonNode *json_parse(const char *data, gsize size, const char *what, GError **error) {
        Scan scan = { .at = data, .end = data + size };
        g_autoptr(JsonParser) parser = NULL;
        g_autoptr(JsonNode) root = NULL;
        gboolean ok;

        if (size > STORE_DOCUMENT_MAX) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "%s is larger than %u bytes", what, STORE_DOCUMENT_MAX);
                return NULL;
        }
        ok = scan_value(&scan);
        scan_space(&scan);
        if (scan.depth > DEPTH_MAX || scan.values > VALUES_MAX) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "%s is nested too deep or holds too many values", what);
                return NULL;
        }
        if (!ok || scan.at != scan.end || !g_utf8_validate_len(data, size, NULL)) {
                store_fail(error, STORE_FAIL_INVALID, "%s is not valid JSON", what);
                return NULL;
        }
        parser = json_parser_new_immutable();
        if (!json_parser_load_from_data(parser, data, (gssize)size, NULL) || !(root = json_parser_steal_root(parser))) {
                store_fail(error, STORE_FAIL_INVALID, "%s is not valid JSON", what);
                return NULL;
        }
        if (count_members(root) != scan.members) {
                store_fail(error, STORE_FAIL_INVALID, "%s has a key twice in one object", what);
                return NULL;
        }
        return g_steal_pointer(&root);
}

/** json_parse_object() - the same for a document that has to be an object; the object belongs to @ret_owner */
JsonObject *json_parse_object(GBytes *bytes, const char *what, JsonNode **ret_owner, GError **error) {
        gsize size;
        const char *data = g_bytes_get_data(bytes, &size);
        g_autoptr(JsonNode) root = json_parse(data, size, what, error);

        if (!root)
                return NULL;
        if (!JSON_NODE_HOLDS_OBJECT(root)) {
                store_fail(error, STORE_FAIL_INVALID, "%s is not a JSON object", what);
                return NULL;
        }
        *ret_owner = g_steal_pointer(&root);
        return json_node_get_object(*ret_owner);
}

/** json_text() - a node as compact JSON; free with g_free() */
char *json_text(JsonNode *n) {
        return json_to_string(n, FALSE);
}

static JsonNode *find(JsonObject *o, const char *member) {
        JsonNode *n = json_object_get_member(o, member);

        return n && !JSON_NODE_HOLDS_NULL(n) ? n : NULL;
}

static gboolean wrong(const char *member, const char *what, const char *type, GError **error) {
        return store_fail(error, STORE_FAIL_INVALID, "Member '%s' of %s is not %s", member, what, type);
}

static gboolean holds(JsonNode *n, GType type) {
        return JSON_NODE_HOLDS_VALUE(n) && json_node_get_value_type(n) == type;
}

gboolean json_string(JsonObject *o, const char *member, const char *what, const char **ret, GError **error) {
        JsonNode *n = find(o, member);

        if (n && !holds(n, G_TYPE_STRING))
                return wrong(member, what, "a string", error);
        *ret = n ? json_node_get_string(n) : NULL;
        return TRUE;
}

gboolean json_size(JsonObject *o, const char *member, const char *what, guint64 *ret, GError **error) {
        JsonNode *n = find(o, member);

        if (n && (!holds(n, G_TYPE_INT64) || json_node_get_int(n) < 0))
                return wrong(member, what, "a number of zero or more", error);
        *ret = n ? (guint64)json_node_get_int(n) : 0;
        return TRUE;
}

gboolean json_object(JsonObject *o, const char *member, const char *what, JsonObject **ret, GError **error) {
        JsonNode *n = find(o, member);

        if (n && !JSON_NODE_HOLDS_OBJECT(n))
                return wrong(member, what, "an object", error);
        *ret = n ? json_node_get_object(n) : NULL;
        return TRUE;
}

gboolean json_array(JsonObject *o, const char *member, const char *what, JsonArray **ret, GError **error) {
        JsonNode *n = find(o, member);

        if (n && !JSON_NODE_HOLDS_ARRAY(n))
                return wrong(member, what, "an array", error);
        *ret = n ? json_node_get_array(n) : NULL;
        return TRUE;
}

/** json_element() - the @i-th element of an array of objects; NULL with error when it is something else */
JsonObject *json_element(JsonArray *a, guint i, const char *what, GError **error) {
        JsonNode *n = json_array_get_element(a, i);

        if (JSON_NODE_HOLDS_OBJECT(n))
                return json_node_get_object(n);
        store_fail(error, STORE_FAIL_INVALID, "An element of %s is not an object", what);
        return NULL;
}

/** json_element_string() - the same for an array of strings */
const char *json_element_string(JsonArray *a, guint i, const char *what, GError **error) {
        JsonNode *n = json_array_get_element(a, i);

        if (holds(n, G_TYPE_STRING))
                return json_node_get_string(n);
        store_fail(error, STORE_FAIL_INVALID, "An element of %s is not a string", what);
        return NULL;
}
