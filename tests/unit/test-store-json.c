/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of the bounded JSON reader: what is taken, what is refused and why.
 */

#include "store/json.h"

#include <string.h>

#include "store/error.h"
#include "store/limits.h"

static void test_taken(void) {
        static const char *const rows[] = { "{}",
                                            "[]",
                                            "\"\\u00e4\\n\"",
                                            "-1.5e+3",
                                            " {\"a\" : [1, 2, {\"b\": null}]} \n",
                                            "true",
                                            "0",
                                            "\"\xc3\xa4\"",
                                            "{\"a\":1,\"b\":{\"a\":2}}" };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(JsonNode) n = json_parse(rows[i], strlen(rows[i]), "It", &error);

                g_assert_no_error(error);
                g_assert_nonnull(n);
        }
}

static void test_refused(void) {
        static const char *const rows[] = { "",
                                            "{",
                                            "}",
                                            "{\"a\"}",
                                            "{\"a\":}",
                                            "[1,]",
                                            "{\"a\":1,}",
                                            "01",
                                            "1.",
                                            "'a'",
                                            "nul",
                                            "\"\\u0000\"",
                                            "\"\\x\"",
                                            "\"\n\"",
                                            "{} {}",
                                            "// x\n{}",
                                            "\"\xff\"",
                                            "[1 2]",
                                            "\"abc",
                                            "{\"a\":1,\"a\":2}",
                                            "{\"a\":1,\"\\u0061\":2}",
                                            "NaN",
                                            "+1",
                                            "{a:1}" };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(json_parse(rows[i], strlen(rows[i]), "It", &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        }
}

static void refuse_large(char *text) {
        g_autofree char *owned = text;
        g_autoptr(GError) error = NULL;

        g_assert_null(json_parse(owned, strlen(owned), "It", &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_EXHAUSTED);
}

static void test_bounds(void) {
        GString *values = g_string_new("[0");

        refuse_large(g_strnfill(100000, '['));
        refuse_large(g_strnfill(STORE_DOCUMENT_MAX + 1, ' '));
        for (guint i = 0; i < 200000; i++)
                g_string_append(values, ",0");
        g_string_append_c(values, ']');
        refuse_large(g_string_free(values, FALSE));
}

static void test_members(void) {
        static const char text[] = "{\"s\":\"x\",\"n\":7,\"minus\":-1,\"nothing\":null,\"o\":{},\"a\":[\"y\",1]}";
        g_autoptr(JsonNode) root = json_parse(text, strlen(text), "It", NULL);
        JsonObject *o = json_node_get_object(root), *object;
        JsonArray *array;
        const char *s;
        guint64 n;

        g_assert_true(json_string(o, "s", "it", &s, NULL));
        g_assert_cmpstr(s, ==, "x");
        g_assert_true(json_string(o, "nothing", "it", &s, NULL));
        g_assert_null(s);
        g_assert_true(json_string(o, "missing", "it", &s, NULL));
        g_assert_null(s);
        g_assert_false(json_string(o, "n", "it", &s, NULL));
        g_assert_true(json_size(o, "n", "it", &n, NULL));
        g_assert_cmpuint(n, ==, 7);
        g_assert_false(json_size(o, "minus", "it", &n, NULL));
        g_assert_false(json_size(o, "s", "it", &n, NULL));
        g_assert_true(json_object(o, "o", "it", &object, NULL));
        g_assert_nonnull(object);
        g_assert_false(json_object(o, "a", "it", &object, NULL));
        g_assert_true(json_array(o, "a", "it", &array, NULL));
        g_assert_false(json_array(o, "o", "it", &array, NULL));
        g_assert_cmpstr(json_element_string(array, 0, "it", NULL), ==, "y");
        g_assert_null(json_element_string(array, 1, "it", NULL));
        g_assert_null(json_element(array, 0, "it", NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/json/taken", test_taken);
        g_test_add_func("/store/json/refused", test_refused);
        g_test_add_func("/store/json/bounds", test_bounds);
        g_test_add_func("/store/json/members", test_members);
        return g_test_run();
}
