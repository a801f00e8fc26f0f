/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of how davitctl finds out who we are to a registry: files as podman, skopeo and docker write them, base64, and
 * what the manager is given. And of looking into JSON, of which these files consist. No file is read and nobody asked.
 */

#include <string.h>

#include "ctl/auth.h"
#include "ctl/json.h"
#include "tests/unit/test.h"

/* What a file says for an image; NULL where nothing. */
static void check_search(const char *text, const char *image, const char *auth, const char *helper) {
        _cleanup_free_ char *got = NULL, *got_helper = NULL;

        ASSERT_EQ(auth_search(text, image, &got, &got_helper), 0);
        if (auth)
                ASSERT_STREQ(got, auth);
        ASSERT_TRUE(auth || !got);
        if (helper)
                ASSERT_STREQ(got_helper, helper);
        ASSERT_TRUE(helper || !got_helper);
}

static void files_are_searched(void) {
        static const char hub[] = "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"hub\"},"
                                  "\"quay.io\":{\"auth\":\"quay\"},\"quay.io/team\":{\"auth\":\"team\"},"
                                  "\"host:5000\":{\"auth\":\"port\"},\"https://plain.example\":{\"auth\":\"plain\"},"
                                  "\"empty.example\":{\"auth\":\"\"},\"none.example\":{}}}";

        check_search(hub, "debian", "hub", NULL);
        check_search(hub, "debian:12", "hub", NULL);
        check_search(hub, "team/app", "hub", NULL);
        check_search(hub, "docker.io/team/app:1", "hub", NULL);
        check_search(hub, "quay.io/app", "quay", NULL);
        check_search(hub, "quay.io/team/app:1", "team", NULL);
        check_search(hub, "quay.io/teams/app:1", "quay", NULL);
        check_search(hub, "quay.io.evil.example/app", NULL, NULL);
        check_search(hub, "host:5000/app", "port", NULL);
        check_search(hub, "host:5001/app", NULL, NULL);
        check_search(hub, "host:50/app", NULL, NULL);
        check_search(hub, "plain.example/app", "plain", NULL);
        check_search(hub, "empty.example/app", NULL, NULL);
        check_search(hub, "none.example/app", NULL, NULL);
        check_search("{\"auths\":{\"docker.io\":{\"auth\":\"short\"}}}", "debian", "short", NULL);
        check_search("{\"auths\":{\"docker.io/library\":{\"auth\":\"lib\"}}}", "debian", "lib", NULL);
        check_search("{\"auths\":{\"docker.io/library\":{\"auth\":\"lib\"}}}", "team/app", NULL, NULL);
        check_search("{}", "debian", NULL, NULL);
        check_search("{\"auths\":null}", "debian", NULL, NULL);
        check_search("{\"auths\":[1, {\"docker.io\":2}]}", "debian", NULL, NULL);
        check_search("{\"auths\":{\"docker.io\":{\"auth\":17}}}", "debian", NULL, NULL);
}

static void helpers_are_named(void) {
        static const char text[] = "{\"credsStore\":\"desktop\",\"credHelpers\":{\"quay.io\":\"pass\"},"
                                   "\"auths\":{\"docker.io\":{},\"known.example\":{\"auth\":\"here\"}}}";

        check_search(text, "quay.io/app", NULL, "pass");
        check_search(text, "debian", NULL, "desktop");
        check_search(text, "known.example/app", "here", NULL);
        check_search("{\"credHelpers\":{\"quay.io\":\"\"}}", "quay.io/app", NULL, NULL);
}

static void other_files_are_refused(void) {
        static const char *const bad[] = { "",     "[]",        "{",        "{\"auths\":{}", "user:password",
                                           "{}{}", "\"auths\"", "{\"a\":\"" };
        char *auth = NULL, *helper = NULL;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ASSERT_EQ(auth_search(bad[i], "debian", &auth, &helper), -EBADMSG);
        ASSERT_FALSE(auth || helper);
}

static void check_decode(const char *base64, const char *text) {
        _cleanup_free_ char *got = auth_decode(base64);

        if (text)
                ASSERT_STREQ(got, text);
        ASSERT_TRUE(text || !got);
}

static void base64_is_decoded(void) {
        check_decode("dXNlcjpwYXNz", "user:pass");
        check_decode("dXNlcjpwYXNzdw==", "user:passw");
        check_decode("dXNlcjpwYXNzdw", "user:passw");
        check_decode("dTpw", "u:p");
        check_decode("w7w6w58=", "\xc3\xbc:\xc3\x9f");
        check_decode("", "");
        check_decode("dXNlc", NULL);
        check_decode("dXNl cjpwYXNz", NULL);
        check_decode("dXNlcg==x", NULL);
        check_decode("dQBw", NULL); /* a NUL in it */
        check_decode("-_-_", NULL);
}

static void check_document(const char *credentials, const char *document) {
        _cleanup_free_ char *got = auth_document("host:5000", credentials);

        if (document)
                ASSERT_STREQ(got, document);
        ASSERT_TRUE(document || (!got && errno == EINVAL));
}

static void documents_are_written(void) {
        check_document("u:p", "{\"registry\":\"host:5000\",\"username\":\"u\",\"password\":\"p\"}");
        check_document("u:p:q\"\\",
                       "{\"registry\":\"host:5000\",\"username\":\"u\",\"password\":\"p:q\\u0022\\u005c\"}");
        check_document("u:", "{\"registry\":\"host:5000\",\"username\":\"u\",\"password\":\"\"}");
        check_document("\xc3\xbc:\x01",
                       "{\"registry\":\"host:5000\",\"username\":\"\xc3\xbc\",\"password\":\"\\u0001\"}");
        check_document(":p", NULL);
        check_document("u", NULL);
        check_document("", NULL);
        check_document("u:\xff", NULL);
        check_document("\xc3:p", NULL);
}

static void check_host(const char *image, const char *host) {
        _cleanup_free_ char *got = auth_host(image);

        ASSERT_STREQ(got, host);
}

static void hosts_are_found(void) {
        check_host("debian", "docker.io");
        check_host("team/app:1", "docker.io");
        check_host("host:5000/app", "host:5000");
        check_host("localhost/app@sha256:0", "localhost");
}

static void json_strings_are_read(void) {
        static const struct {
                const char *json, *text;
        } table[] = {
                { "\"\"", "" },
                { "\"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"", "a\n\t\"\\/\b\f\r" },
                { "\"\\u00fc\\u20ac\\ud83d\\ude00\"", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80" },
                { "\"a\" rest", "a" },
                { "\"\\u0000\"", NULL },
                { "\"\\ud83d\"", NULL },
                { "\"\\ude00\"", NULL },
                { "\"\\ud83dx\"", NULL },
                { "\"\\x\"", NULL },
                { "\"\\u00\"", NULL },
                { "\"a", NULL },
                { "\"a\\", NULL },
                { "17", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *text = json_text(table[i].json);

                if (table[i].text)
                        ASSERT_STREQ(text, table[i].text);
                ASSERT_TRUE(table[i].text || !text);
        }
        ASSERT_FALSE(json_text(NULL));
}

static void json_members_are_found(void) {
        static const char text[] = " { \"a\" : [1, {\"b\":\"}\"}], \"b\":{\"c\":\"x\"},\"d\": -1.5e3 ,\"b\":2 }";
        const char *at = text, *value;
        _cleanup_free_ char *inner = NULL;
        unsigned n = 0;
        char *name;

        while (json_next(&at, &name, &value)) {
                free(name);
                n++;
        }
        ASSERT_EQ(n, 4);
        ASSERT_EQ(*at, '}');
        inner = json_text(json_find(json_find(text, "b"), "c"));
        ASSERT_STREQ(inner, "x");
        ASSERT_TRUE(strncmp(json_find(text, "d"), "-1.5e3", 6) == 0);
        ASSERT_FALSE(json_find(text, "c"));
        ASSERT_FALSE(json_find(json_find(text, "a"), "b"));
        ASSERT_FALSE(json_find("{\"a\" 1}", "a"));
        ASSERT_FALSE(json_find("{\"a\":}", "a"));
        ASSERT_FALSE(json_find("{\"a\":[", "a"));
        ASSERT_TRUE(json_whole(text));
        ASSERT_TRUE(json_whole("17"));
        ASSERT_FALSE(json_whole("{} x"));
        ASSERT_FALSE(json_whole("[[[["));
}

TEST_MAIN({ "files are searched", files_are_searched }, { "helpers are named", helpers_are_named },
          { "other files are refused", other_files_are_refused }, { "base64 is decoded", base64_is_decoded },
          { "documents are written", documents_are_written }, { "hosts are found", hosts_are_found },
          { "json strings are read", json_strings_are_read }, { "json members are found", json_members_are_found })
