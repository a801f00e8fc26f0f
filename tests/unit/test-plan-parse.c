/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The JSON reader on good and bad documents, and merge patches on the examples of RFC 7386.
 */

#include "tests/unit/plan-test.h"

static void test_good(void) {
        static const struct {
                const char *text, *back;
        } good[] = {
                { "{}", "{}" },
                { " \t\r\n{ } \n", "{}" },
                { "{\"a\":[1,-2,0,true,false,null,\"x\"]}", "{\"a\":[1,-2,0,true,false,null,\"x\"]}" },
                { "{\"a\":\"\\u0041\\n\\\"\\\\\\/\"}", "{\"a\":\"A\\n\\\"\\\\/\"}" },
                { "{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":\"\xf0\x9f\x98\x80\"}" },
                { "{\"\":{\"b\":[[],{}]}}", "{\"\":{\"b\":[[],{}]}}" },
                { "{\"a\":9223372036854775807}", "{\"a\":9223372036854775807}" },
                { "{\"a\":-9223372036854775808}", "{\"a\":-9223372036854775808}" },
                { "{\"a\":18446744073709551615}", "{\"a\":-1}" },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(JsonNode) node = spec_parse(good[i].text, strlen(good[i].text), &error);
                g_autofree char *back = NULL;

                g_assert_no_error(error);
                back = spec_to_string(node);
                g_assert_cmpstr(back, ==, good[i].back);
        }
}

static void refuse(const char *text, gsize size) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = spec_parse(text, size, &error);

        if (node)
                g_error("\"%s\" was taken", text);
        g_assert_error(error, PLAN_ERROR, PLAN_ERROR_INVALID);
}

static void test_bad(void) {
        static const char *const bad[] = {
                "",
                " ",
                "[]",
                "1",
                "null",
                "\"a\"",
                "{",
                "}",
                "{}}",
                "{} {}",
                "{}x",
                "{,}",
                "{\"a\"}",
                "{\"a\":}",
                "{\"a\":1,}",
                "{\"a\":1 \"b\":2}",
                "{a:1}",
                "{'a':1}",
                "{\"a\":1,\"a\":2}",
                "{\"x\":{\"a\":1,\"\\u0061\":2}}",
                "{\"a\":[1,]}",
                "{\"a\":[1 2]}",
                "{\"a\":[}",
                "{\"a\":\"",
                "{\"a\":\"\\",
                "{\"a\":\"\\x\"}",
                "{\"a\":\"\\u12\"}",
                "{\"a\":\"\\u0000\"}",
                "{\"a\":\"\\ud800\"}",
                "{\"a\":\"\\ud800\\u0041\"}",
                "{\"a\":\"\\udc00\"}",
                "{\"a\":\"\n\"}",
                "{\"a\":01}",
                "{\"a\":+1}",
                "{\"a\":-}",
                "{\"a\":1.}",
                "{\"a\":.5}",
                "{\"a\":1e}",
                "{\"a\":0x10}",
                "{\"a\":NaN}",
                "{\"a\":Infinity}",
                "{\"a\":tru}",
                "{\"a\":True}",
                "{\"a\":1}//",
                "/**/{}",
                "#\n{}",
                "{\"a\":18446744073709551616}",
                "{\"a\":-9223372036854775809}",
                "{\"a\":\"\xff\"}",
                "\xef\xbb\xbf{}",
        };

        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                refuse(bad[i], strlen(bad[i]));
        refuse("{}\0", 3);
        refuse("{\"a\":\"\0\"}", 9);
}

static void test_bounds(void) {
        g_autoptr(GString) deep = g_string_new("{\"a\":"), many = g_string_new("{\"a\":["),
                           large = g_string_new("{\"a\":\"");
        g_autoptr(JsonNode) node = NULL;
        g_autoptr(GError) error = NULL;

        for (int i = 0; i < 63; i++)
                g_string_append_c(deep, '[');
        for (int i = 0; i < 63; i++)
                g_string_append_c(deep, ']');
        g_string_append_c(deep, '}');
        node = spec_parse(deep->str, deep->len, &error);
        g_assert_no_error(error);
        g_string_assign(deep, "{\"a\":");
        for (int i = 0; i < 100000; i++)
                g_string_append_c(deep, '[');
        refuse(deep->str, deep->len);
        for (int i = 0; i < 300000; i++)
                g_string_append(many, i ? ",0" : "0");
        g_string_append(many, "]}");
        refuse(many->str, many->len);
        while (large->len < 5 * 1024 * 1024)
                g_string_append(large, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        g_string_append(large, "\"}");
        refuse(large->str, large->len);
}

/* Every prefix and every single-byte change of a document is taken or refused, never anything else. */
static void test_mutations(void) {
        static const char text[] = "{\"a\":[1,2.5e3,{\"b\":\"x\\u00e9\\n\"}],\"c\":null,\"d\":-7,\"e\":{}}";

        for (gsize n = 0; n < sizeof(text) - 1; n++)
                refuse(text, n);
        for (gsize at = 0; at < sizeof(text) - 1; at++)
                for (int c = 1; c < 256; c++) {
                        g_autofree char *changed = g_strdup(text);
                        g_autoptr(GError) error = NULL;
                        g_autoptr(JsonNode) node = NULL;

                        changed[at] = (char)c;
                        node = spec_parse(changed, sizeof(text) - 1, &error);
                        g_assert_true((node != NULL) != (error != NULL));
                }
}

static void test_merge(void) {
        static const struct {
                const char *target, *patch, *result; /* RFC 7386 appendix A, where both are objects */
        } cases[] = {
                { "{'a':'b'}", "{'a':'c'}", "{'a':'c'}" },
                { "{'a':'b'}", "{'b':'c'}", "{'a':'b','b':'c'}" },
                { "{'a':'b'}", "{'a':null}", "{}" },
                { "{'a':'b','b':'c'}", "{'a':null}", "{'b':'c'}" },
                { "{'a':['b']}", "{'a':'c'}", "{'a':'c'}" },
                { "{'a':'c'}", "{'a':['b']}", "{'a':['b']}" },
                { "{'a':{'b':'c'}}", "{'a':{'b':'d','c':null}}", "{'a':{'b':'d'}}" },
                { "{'a':[{'b':'c'}]}", "{'a':[1]}", "{'a':[1]}" },
                { "{'e':null}", "{'a':1}", "{'e':null,'a':1}" },
                { "{}", "{'a':{'bb':{'ccc':null}}}", "{'a':{'bb':{}}}" },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(JsonNode) target = json(cases[i].target), patch = json(cases[i].patch),
                                    want = json(cases[i].result);
                g_autofree char *before = spec_to_string(target), *after = NULL;
                g_autoptr(JsonNode) merged = spec_merge_patch(target, patch);

                g_assert_true(json_node_equal(merged, want));
                after = spec_to_string(target);
                g_assert_cmpstr(before, ==, after);
        }
}

/* A copy shares nothing with its original. */
static void test_copy(void) {
        g_autoptr(JsonNode) spec = spec_default_new(), copy = spec_copy(spec);
        g_autofree char *before = spec_to_string(spec), *after = NULL;

        g_assert_true(json_node_equal(spec, copy));
        json_object_set_string_member(json_object_get_object_member(json_node_get_object(copy), "process"), "cwd",
                                      "/elsewhere");
        after = spec_to_string(spec);
        g_assert_cmpstr(before, ==, after);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/parse/good", test_good);
        g_test_add_func("/parse/bad", test_bad);
        g_test_add_func("/parse/bounds", test_bounds);
        g_test_add_func("/parse/mutations", test_mutations);
        g_test_add_func("/merge/rfc7386", test_merge);
        g_test_add_func("/merge/copy", test_copy);
        return g_test_run();
}
