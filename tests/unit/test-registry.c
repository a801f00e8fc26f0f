/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of what davit-registry reads: references, challenges, URLs, credentials, requests.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "registry/challenge.h"
#include "registry/pull.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/registry-protocol.h"
#include "store/error.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_references(void) {
        static const struct {
                const char *text, *host, *path, *tag, *digest;
        } rows[] = {
                { "docker.io/library/debian:12", "docker.io", "library/debian", "12", NULL },
                { "docker.io/library/debian", "docker.io", "library/debian", "latest", NULL },
                { "localhost:5000/a:1.0", "localhost:5000", "a", "1.0", NULL },
                { "localhost/a/b/c", "localhost", "a/b/c", "latest", NULL },
                { "r.example/a@sha256:" HEX, "r.example", "a", NULL, "sha256:" HEX },
                { "r.example:443/a/b:t@sha256:" HEX, "r.example:443", "a/b", "t", "sha256:" HEX },
        };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) error = NULL;
                g_auto(Reference) r = { NULL };

                g_assert_true(reference_parse(rows[i].text, &r, &error));
                g_assert_no_error(error);
                g_assert_cmpstr(r.text, ==, rows[i].text);
                g_assert_cmpstr(r.host, ==, rows[i].host);
                g_assert_cmpstr(r.path, ==, rows[i].path);
                g_assert_cmpstr(r.tag, ==, rows[i].tag);
                g_assert_cmpstr(r.digest, ==, rows[i].digest);
                g_assert_cmpstr(reference_version(&r), ==, rows[i].digest ? rows[i].digest : rows[i].tag);
        }
}

static void test_bad_references(void) {
        static const char *const rows[] = { "",
                                            "debian",
                                            "team/app:1",
                                            "r.example/",
                                            "r.example/A",
                                            "r.example/a:",
                                            "r.example/a b",
                                            "r.example/a@sha256:abc",
                                            "r.example/../a",
                                            "r.example/a\r\nHost: other/b",
                                            "https://r.example/a" };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) error = NULL;
                g_auto(Reference) r = { NULL };

                g_assert_false(reference_parse(rows[i], &r, &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        }
}

static void test_who_may_have_credentials(void) {
        static const struct {
                const char *host, *other;
                gboolean may;
        } rows[] = {
                { "r.example", "r.example", TRUE },
                { "r.example", "R.Example", TRUE },
                { "r.example:5000", "r.example:5000", TRUE },
                { "r.example:5000", "r.example:5001", FALSE },
                { "r.example:5000", "r.example", FALSE },
                { "registry.gitlab.example", "gitlab.example", TRUE },
                { "registry.gitlab.example", "gitlab.example:8443", FALSE },
                { "registry.gitlab.example", "lab.example", FALSE },
                { "registry.gitlab.example", "example", FALSE },
                { "r.example", "auth.r.example", FALSE },
                { "r.example", "evil.example", FALSE },
                { "docker.io", "auth.docker.io", TRUE },
                { "docker.io", "registry-1.docker.io", TRUE },
                { "docker.io", "docker.io", TRUE },
                { "docker.io", "auth.docker.io.evil.example", FALSE },
                { "docker.io", "auth.notdocker.io", FALSE },
                { "r.example", "auth.docker.io", FALSE },
                { "127.0.0.1", "0.0.1", FALSE },
                { "localhost:5000", "localhost", FALSE },
                { "r.example", "", FALSE },
        };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
                if (registry_may_have(rows[i].host, rows[i].other) != rows[i].may)
                        g_error("%s of %s", rows[i].other, rows[i].host);
}

static void test_challenges(void) {
        static const struct {
                const char *header;
                ChallengeKind kind;
                const char *realm, *service, *scope;
        } rows[] = {
                { "Bearer realm=\"https://a.example/token\",service=\"r\",scope=\"repository:a:pull\"",
                  CHALLENGE_BEARER, "https://a.example/token", "r", "repository:a:pull" },
                { "bearer  realm = https://a.example/token , service=r", CHALLENGE_BEARER, "https://a.example/token",
                  "r", NULL },
                { "Basic realm=\"Registry, \\\"ours\\\"\"", CHALLENGE_BASIC, "Registry, \"ours\"", NULL, NULL },
                { "Basic", CHALLENGE_BASIC, NULL, NULL, NULL },
                { "Basic realm=\"x\", Bearer realm=\"https://t\",service=\"s\"", CHALLENGE_BEARER, "https://t", "s",
                  NULL },
                { "Bearer realm=\"https://t\", Basic realm=\"x\"", CHALLENGE_BEARER, "https://t", NULL, NULL },
                { "Negotiate dG9rZW4=, Basic realm=\"x\"", CHALLENGE_BASIC, "x", NULL, NULL },
                { "Bearer realm=\"a\",realm=\"b\"", CHALLENGE_BEARER, "a", NULL, NULL },
                { "Bearer service=\"x\"", CHALLENGE_NONE, NULL, NULL, NULL },
                { "Bearer realm=\"https://t", CHALLENGE_NONE, NULL, NULL, NULL },
                { "Bearer realm=\"a\tb\"", CHALLENGE_NONE, NULL, NULL, NULL },
                { "Digest realm=\"x\"", CHALLENGE_NONE, NULL, NULL, NULL },
                { "", CHALLENGE_NONE, NULL, NULL, NULL },
                { "=,=\"\"", CHALLENGE_NONE, NULL, NULL, NULL },
                { "Basic realm=\"x\" \xff", CHALLENGE_BASIC, "x", NULL, NULL },
        };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(Challenge) c = { CHALLENGE_NONE };

                challenge_parse(rows[i].header, &c);
                g_test_message("%s", rows[i].header);
                g_assert_cmpint(c.kind, ==, rows[i].kind);
                g_assert_cmpstr(c.realm, ==, rows[i].realm);
                g_assert_cmpstr(c.service, ==, rows[i].service);
                g_assert_cmpstr(c.scope, ==, rows[i].scope);
        }
}

static void test_urls(void) {
        static const struct {
                const char *url, *server;
                gboolean plain;
        } rows[] = {
                { "https://R.example/v2/", "r.example", FALSE },
                { "https://r.example:443/", "r.example", FALSE },
                { "http://r.example:443/", "r.example:443", TRUE },
                { "http://127.0.0.1:5000", "127.0.0.1:5000", TRUE },
                { "https://user@r.example/", NULL, FALSE },
                { "https://r.example@evil.example/", NULL, FALSE },
                { "file:///etc/passwd", NULL, FALSE },
                { "ftp://r.example/", NULL, FALSE },
                { "//r.example/", NULL, FALSE },
                { "", NULL, FALSE },
        };
        g_autofree char *relative = url_resolve("https://r.example/v2/a/blobs/x?y", "../z?q=1");
        g_autofree char *other = url_resolve("https://r.example/v2/", "http://c.example/b");
        g_autofree char *user = url_resolve("https://r.example/v2/", "https://u:p@c.example/b");
        g_autofree char *query = url_add_query("https://t.example/token?a=b", "scope", "repository:a b:pull&x");

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                gboolean plain = FALSE;
                g_autofree char *server = url_server(rows[i].url, &plain);

                g_assert_cmpstr(server, ==, rows[i].server);
                g_assert_cmpint(plain, ==, rows[i].plain);
        }
        g_assert_cmpstr(relative, ==, "https://r.example/v2/a/z?q=1");
        g_assert_cmpstr(other, ==, "http://c.example/b");
        g_assert_null(user);
        /* Which letters hexadecimal digits are is libcurl's matter. */
        g_assert_cmpint(g_ascii_strcasecmp(query, "https://t.example/token?a=b&scope=repository%3Aa+b%3Apull%26x"), ==,
                        0);
}

static gboolean read_text(const char *text, Credentials *ret, GError **error) {
        _cleanup_close_ int fd = memfd_sealed("test", text, strlen(text));

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(lseek(fd, 0, SEEK_END), >=, 0); /* it is read by offset */
        return credentials_read(fd, "docker.io", ret, error);
}

static void test_credentials(void) {
        static const char *const bad[] = { "",
                                           "[]",
                                           "{}",
                                           "{\"username\":\"u\"}",
                                           "{\"username\":\"u:v\",\"password\":\"p\"}",
                                           "{\"token\":\"a b\"}",
                                           "{\"token\":\"a\\r\\nb\"}",
                                           "{\"token\":\"\"}",
                                           "{\"username\":\"u\",\"password\":\"p\",\"token\":\"t\"}",
                                           "{\"username\":1,\"password\":\"p\"}" };
        g_auto(Credentials) one = { NULL }, two = { NULL }, three = { NULL };
        g_autofree char *basic = NULL, *large = g_strnfill(REGISTRY_CREDENTIALS_MAX + 1, ' ');

        g_assert_true(read_text("{\"username\":\"u\",\"password\":\"p:q\",\"registry\":\"docker.io\"}", &one, NULL));
        basic = credentials_basic(&one);
        g_assert_cmpstr(basic, ==, "Basic dTpwOnE=");
        g_assert_true(read_text("{\"token\":\"t\"}", &two, NULL));
        g_assert_cmpstr(two.token, ==, "t");
        g_assert_null(credentials_basic(&two));
        g_assert_true(read_text("{\"token\":\"t\",\"registry\":\"r.example\"}", &three, NULL));
        g_assert_null(three.token);
        g_assert_false(read_text(large, &three, NULL));
        for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_false(read_text(bad[i], &three, &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        }
}

static void test_requests(void) {
        static const char *const bad[] = {
                "{}",
                "[]",
                "{\"reference\":\"debian\"}",
                "{\"reference\":\"r.example/a\",\"more\":1}",
                "{\"reference\":\"r.example/a\",\"insecure\":1}",
                "{\"reference\":\"r.example/a\",\"have\":[\"sha256:x\"]}",
                "{\"reference\":\"r.example/a\",\"have\":[1]}",
                "{\"reference\":\"r.example/a\",\"limits\":{\"bytes\":0}}",
                "{\"reference\":\"r.example/a\",\"limits\":{\"other\":1}}",
                "{\"reference\":\"r.example/a\",\"limits\":{\"stall_usec\":1}}",
                "{\"reference\":\"r.example/a\",\"limits\":{\"connect_usec\":\"1\"}}",
        };
        static const char good[] = "{\"reference\":\"r.example/a\",\"platform\":\"linux/arm64\",\"digest_only\":true,"
                                   "\"have\":[\"sha256:" HEX "\"],\"token_hosts\":[\"A.example\"],\"credentials\":true,"
                                   "\"limits\":{\"bytes\":5,\"ratio\":7,\"stall_usec\":1000,\"retries\":100}}";
        g_auto(Pull) p = { .platform = NULL };

        g_assert_true(pull_read(&p, good, strlen(good), NULL));
        g_assert_cmpstr(p.platform, ==, "linux/arm64");
        g_assert_true(p.digest_only && p.has_credentials && !p.insecure);
        g_assert_true(g_hash_table_contains(p.have, "sha256:" HEX));
        g_assert_cmpstr(p.token_hosts->pdata[0], ==, "a.example");
        g_assert_cmpuint(p.limits.bytes, ==, 5);
        g_assert_cmpint(p.times.stall_usec, ==, 1000);
        g_assert_cmpuint(p.retries, ==, 100);
        for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_auto(Pull) q = { .platform = NULL };
                g_autoptr(GError) error = NULL;

                g_assert_false(pull_read(&q, bad[i], strlen(bad[i]), &error));
                g_assert_error(error, STORE_FAIL, STORE_FAIL_INVALID);
        }
}

static void test_waits(void) {
        static const struct {
                const char *header;
                gint64 usec;
        } rows[] = { { NULL, 0 },  { "5", 5 * G_USEC_PER_SEC },   { "-1", 0 },
                     { "1e9", 0 }, { "99999999999999999999", 0 }, { "Wed, 21 Oct 2015 07:28:00 GMT", 0 } };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                const HttpAnswer a = { .retry_after = (char *)rows[i].header };

                g_assert_cmpint(answer_wait_usec(&a), ==, rows[i].usec);
        }
}

static void test_addresses(void) {
        static const char *const local[] = { "127.0.0.1", "127.1.2.3", "0.0.0.0",          "169.254.169.254",   "::1",
                                             "::",        "fe80::1",   "::ffff:127.0.0.1", "::ffff:169.254.1.1" };
        static const char *const others[] = { "128.0.0.1",   "10.0.0.1",        "192.168.1.1",      "169.253.1.1",
                                              "2001:db8::1", "::ffff:10.0.0.1", "registry.example", "" };
        const struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
                                 other = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001) };
        const struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

        for (gsize i = 0; i < G_N_ELEMENTS(local); i++)
                g_assert_true(address_text_is_local(local[i]));
        for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
                g_assert_false(address_text_is_local(others[i]));
        g_assert_true(address_is_local((const struct sockaddr *)&loopback, sizeof(loopback)));
        g_assert_true(address_is_local((const struct sockaddr *)&six, sizeof(six)));
        g_assert_false(address_is_local((const struct sockaddr *)&other, sizeof(other)));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/registry/references", test_references);
        g_test_add_func("/registry/bad-references", test_bad_references);
        g_test_add_func("/registry/who-may-have-credentials", test_who_may_have_credentials);
        g_test_add_func("/registry/challenges", test_challenges);
        g_test_add_func("/registry/urls", test_urls);
        g_test_add_func("/registry/addresses", test_addresses);
        g_test_add_func("/registry/credentials", test_credentials);
        g_test_add_func("/registry/requests", test_requests);
        g_test_add_func("/registry/waits", test_waits);
        return g_test_run();
}
