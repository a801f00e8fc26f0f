/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A strict JSON reader (RFC 8259) that makes json-glib trees.
 *
 * json-glib's own parser recurses without a bound, takes duplicate keys (the last one silently
 * wins) and is lenient about syntax; a configuration that two readers understand differently is a
 * security problem, so documents are read here. Bounds: PARSE_SIZE_MAX bytes, PARSE_DEPTH_MAX
 * levels, PARSE_NODES_MAX values. Text must be UTF-8 without NUL, also not as an escape.
 * It never reads a file and never keeps a pointer into the text.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/fields.h"
#include "plan/spec.h"

#define PARSE_SIZE_MAX (4U * 1024U * 1024U)
#define PARSE_DEPTH_MAX 64U
#define PARSE_NODES_MAX 200000U

typedef struct Parser {
        const char *text, *p, *end;
        guint depth, nodes;
} Parser;

static JsonNode *parse_value(Parser *parser, GError **error);

static gboolean parse_fail(Parser *parser, GError **error, const char *what) {
        return plan_fail(error, PLAN_ERROR_INVALID, "JSON, byte %zu: %s", (gsize)(parser->p - parser->text), what);
}

static void skip_space(Parser *parser) {
        while (parser->p < parser->end &&
               (*parser->p == ' ' || *parser->p == '\t' || *parser->p == '\n' || *parser->p == '\r'))
                parser->p++;
}

static gboolean take(Parser *parser, char c) {
        skip_space(parser);
        if (parser->p >= parser->end || *parser->p != c)
                return FALSE;
        parser->p++;
        return TRUE;
}

static gboolean parse_hex4(Parser *parser, gunichar *ret) {
        gunichar v = 0;

        if (parser->end - parser->p < 4)
                return FALSE;
        for (int i = 0; i < 4; i++) {
                int d = g_ascii_xdigit_value(*parser->p++);

                if (d < 0)
                        return FALSE;
                v = v << 4 | (gunichar)d;
        }
        *ret = v;
        return TRUE;
}

/* After "\u": one code unit, or two that form a pair. */
static gboolean parse_unicode(Parser *parser, GString *string, GError **error) {
        gunichar c, low;

        if (!parse_hex4(parser, &c))
                return parse_fail(parser, error, "bad \\u escape");
        if (c >= 0xd800 && c <= 0xdbff) {
                if (parser->end - parser->p < 2 || parser->p[0] != '\\' || parser->p[1] != 'u')
                        return parse_fail(parser, error, "unpaired surrogate");
                parser->p += 2;
                if (!parse_hex4(parser, &low) || low < 0xdc00 || low > 0xdfff)
                        return parse_fail(parser, error, "unpaired surrogate");
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        } else if (c >= 0xdc00 && c <= 0xdfff)
                return parse_fail(parser, error, "unpaired surrogate");
        if (c == 0)
                return parse_fail(parser, error, "NUL in a string");
        g_string_append_unichar(string, c);
        return TRUE;
}

static gboolean parse_escape(Parser *parser, GString *string, GError **error) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *at;

        if (parser->p >= parser->end)
                return parse_fail(parser, error, "unterminated string");
        if (*parser->p == 'u') {
                parser->p++;
                return parse_unicode(parser, string, error);
        }
        at = memchr(from, *parser->p, sizeof(from) - 1);
        if (!at)
                return parse_fail(parser, error, "bad escape");
        g_string_append_c(string, to[at - from]);
        parser->p++;
        return TRUE;
}

/* After the opening quote. */
static char *parse_string(Parser *parser, GError **error) {
        const char *plain = parser->p;
        GString *string = NULL;

        for (;;) {
                if (parser->p >= parser->end || (guchar)*parser->p < 0x20) {
                        parse_fail(parser, error,
                                   parser->p >= parser->end ? "unterminated string" : "control character in a string");
                        break;
                }
                if (*parser->p == '"') {
                        gsize n = (gsize)(parser->p - plain);

                        parser->p++;
                        if (!string)
                                return g_strndup(plain, n);
                        g_string_append_len(string, plain, (gssize)n);
                        return g_string_free(string, FALSE);
                }
                if (*parser->p != '\\') {
                        parser->p++;
                        continue;
                }
                if (!string)
                        string = g_string_new(NULL);
                g_string_append_len(string, plain, parser->p - plain);
                parser->p++;
                if (!parse_escape(parser, string, error))
                        break;
                plain = parser->p;
        }
        if (string)
                g_string_free(string, TRUE);
        return NULL;
}

static gsize digits(Parser *parser) {
        const char *from = parser->p;

        while (parser->p < parser->end && g_ascii_isdigit(*parser->p))
                parser->p++;
        return (gsize)(parser->p - from);
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static gboolean scan_number(Parser *parser, gboolean *ret_integer) {
        *ret_integer = TRUE;
        if (*parser->p == '-')
                parser->p++;
        if (parser->p < parser->end && *parser->p == '0')
                parser->p++;
        else if (digits(parser) == 0)
                return FALSE;
        if (parser->p < parser->end && *parser->p == '.') {
                *ret_integer = FALSE;
                parser->p++;
                if (digits(parser) == 0)
                        return FALSE;
        }
        if (parser->p < parser->end && (*parser->p == 'e' || *parser->p == 'E')) {
                *ret_integer = FALSE;
                parser->p++;
                if (parser->p < parser->end && (*parser->p == '+' || *parser->p == '-'))
                        parser->p++;
                if (digits(parser) == 0)
                        return FALSE;
        }
        return TRUE;
}

/* Integers of the unsigned 64-bit range are kept in two's complement: json-glib has signed ones only. */
static JsonNode *parse_number(Parser *parser, GError **error) {
        g_autofree char *number = NULL;
        const char *from = parser->p;
        gboolean integer;
        gint64 v;

        if (!scan_number(parser, &integer)) {
                parse_fail(parser, error, "malformed number");
                return NULL;
        }
        number = g_strndup(from, (gsize)(parser->p - from));
        if (!integer)
                return json_node_init_double(json_node_alloc(), g_ascii_strtod(number, NULL));
        errno = 0;
        v = *number == '-' ? g_ascii_strtoll(number, NULL, 10) : (gint64)g_ascii_strtoull(number, NULL, 10);
        if (errno != 0) {
                parse_fail(parser, error, "integer out of range");
                return NULL;
        }
        return json_node_init_int(json_node_alloc(), v);
}

static gboolean parse_member(Parser *parser, JsonObject *object, GError **error) {
        g_autofree char *key = NULL;
        JsonNode *value;

        if (!take(parser, '"'))
                return parse_fail(parser, error, "expected a key");
        key = parse_string(parser, error);
        if (!key)
                return FALSE;
        if (json_object_has_member(object, key))
                return plan_fail(error, PLAN_ERROR_INVALID, "JSON, byte %zu: duplicate key \"%s\"",
                                 (gsize)(parser->p - parser->text), key);
        if (!take(parser, ':'))
                return parse_fail(parser, error, "expected ':'");
        value = parse_value(parser, error);
        if (!value)
                return FALSE;
        json_object_set_member(object, key, value);
        return TRUE;
}

static JsonNode *parse_object(Parser *parser, GError **error) {
        g_autoptr(JsonObject) object = json_object_new();

        if (!take(parser, '}'))
                for (;;) {
                        if (!parse_member(parser, object, error))
                                return NULL;
                        if (take(parser, '}'))
                                break;
                        if (!take(parser, ',')) {
                                parse_fail(parser, error, "expected ',' or '}'");
                                return NULL;
                        }
                }
        return json_node_init_object(json_node_alloc(), object);
}

static JsonNode *parse_array(Parser *parser, GError **error) {
        g_autoptr(JsonArray) array = json_array_new();

        if (!take(parser, ']'))
                for (;;) {
                        JsonNode *value = parse_value(parser, error);

                        if (!value)
                                return NULL;
                        json_array_add_element(array, value);
                        if (take(parser, ']'))
                                break;
                        if (!take(parser, ',')) {
                                parse_fail(parser, error, "expected ',' or ']'");
                                return NULL;
                        }
                }
        return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *parse_word(Parser *parser, GError **error) {
        gsize left = (gsize)(parser->end - parser->p);

        if (left >= 4 && memcmp(parser->p, "true", 4) == 0) {
                parser->p += 4;
                return json_node_init_boolean(json_node_alloc(), TRUE);
        }
        if (left >= 5 && memcmp(parser->p, "false", 5) == 0) {
                parser->p += 5;
                return json_node_init_boolean(json_node_alloc(), FALSE);
        }
        if (left >= 4 && memcmp(parser->p, "null", 4) == 0) {
                parser->p += 4;
                return json_node_init_null(json_node_alloc());
        }
        parse_fail(parser, error, "expected a value");
        return NULL;
}

static JsonNode *parse_nested(Parser *parser, GError **error) {
        char open = *parser->p++;
        JsonNode *node;

        if (parser->depth == PARSE_DEPTH_MAX) {
                parse_fail(parser, error, "nested too deeply");
                return NULL;
        }
        parser->depth++;
        node = open == '{' ? parse_object(parser, error) : parse_array(parser, error);
        parser->depth--;
        return node;
}

static JsonNode *parse_value(Parser *parser, GError **error) {
        skip_space(parser);
        if (parser->p >= parser->end) {
                parse_fail(parser, error, "unexpected end");
                return NULL;
        }
        if (++parser->nodes > PARSE_NODES_MAX) {
                parse_fail(parser, error, "too many values");
                return NULL;
        }
        switch (*parser->p) {
        case '{':
        case '[':
                return parse_nested(parser, error);
        case '"': {
                g_autofree char *s = NULL;

                parser->p++;
                s = parse_string(parser, error);
                return s ? json_node_init_string(json_node_alloc(), s) : NULL;
        }
        case '-':
        case '0' ... '9':
                return parse_number(parser, error);
        default:
                return parse_word(parser, error);
        }
}

/**
 * spec_parse() - Reads a JSON document whose top is an object.
 * @text: not NUL-terminated
 * @size: bytes, at most 4 MiB
 *
 * Returns a new tree, or NULL with PLAN_ERROR_INVALID, which names the byte.
 */
JsonNode *spec_parse(const char *text, gsize size, GError **error) {
        Parser parser = { .text = text, .p = text, .end = text + size };
        g_autoptr(JsonNode) node = NULL;

        if (size > PARSE_SIZE_MAX) {
                plan_fail(error, PLAN_ERROR_INVALID, "JSON: %zu bytes are more than the %u allowed", size,
                          PARSE_SIZE_MAX);
                return NULL;
        }
        if (!g_utf8_validate_len(text, size, NULL)) {
                plan_fail(error, PLAN_ERROR_INVALID, "JSON: not UTF-8, or with a NUL byte");
                return NULL;
        }
        node = parse_value(&parser, error);
        if (!node)
                return NULL;
        skip_space(&parser);
        if (parser.p != parser.end) {
                parse_fail(&parser, error, "text after the document");
                return NULL;
        }
        if (!JSON_NODE_HOLDS_OBJECT(node)) {
                plan_fail(error, PLAN_ERROR_INVALID, "JSON: the document is not an object");
                return NULL;
        }
        return g_steal_pointer(&node);
}
