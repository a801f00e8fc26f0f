/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Image names, digests and the check of a worker's result: a good one is changed in one place at a time, and each
 * change has to be refused with the name of the member.
 */

#include <errno.h>
#include <string.h>

#include "daemon/image-record.h"
#include "daemon/store-client.h"
#include "shared/image-name.h"
#include "shared/macros.h"
#include "shared/name.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
/* printf 'sha256:aaaa... sha256:bbbb...' | sha256sum */
#define HEX_AB "ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"

static const char good[] =
        "{\"name\":\"debian:12\",\"digest\":\"sha256:" HEX_A "\",\"config_digest\":\"sha256:" HEX_B "\","
        "\"media_type\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"},\"size\":123,\"manifest_size\":"
        "31,\"config_size\":32,\"created\":"
        "1700000000000000,"
        "\"layers\":[{\"diff_id\":\"sha256:" HEX_A "\",\"digest\":\"sha256:" HEX_B "\",\"size\":100},"
        "{\"diff_id\":\"sha256:" HEX_B "\",\"digest\":\"sha256:" HEX_A "\",\"size\":23}],"
        "\"chain_id\":\"sha256:" HEX_AB "\","
        "\"rootfs\":{\"form\":\"checkout\",\"path\":\"" DAVIT_STATE_DIR "/checkouts/" HEX_AB "\","
        "\"root\":{\"uid\":7,\"gid\":8,\"mode\":488}},"
        "\"config\":{\"Entrypoint\":[\"/bin/sh\",\"-c\"],\"Cmd\":null,\"Env\":[\"PATH=/"
        "bin\",\"EMPTY=\"],\"WorkingDir\":\"/srv\","
        "\"User\":\"www:www\",\"StopSignal\":\"SIGQUIT\",\"Labels\":{\"a\":\"b\"},\"Volumes\":[\"/v\"],"
        "\"ExposedPorts\":[\"80/tcp\"],\"Hidden\":[1]},"
        "\"history\":[{\"created\":5,\"created_by\":\"ADD x\",\"author\":\"me\",\"comment\":\"c\"},"
        "{\"created_by\":\"CMD\",\"empty_layer\":true}],"
        "\"index\":\"sha256:" HEX_AB "\",\"platforms\":[{\"digest\":\"sha256:" HEX_AB "\",\"config_digest\":"
        "\"sha256:" HEX_AB "\",\"media_type\":\"c/d\",\"platform\":{\"os\":\"linux\",\"architecture\":\"riscv64\"},"
        "\"size\":9,\"layers\":[{\"diff_id\":\"sha256:" HEX_A "\",\"digest\":\"sha256:" HEX_B "\",\"size\":100}],"
        "\"chain_id\":\"sha256:" HEX_A "\",\"rootfs\":{\"form\":\"erofs\",\"path\":\"" DAVIT_STATE_DIR "/erofs/" HEX_A
        "\"},\"config\":{}}]}";

static int parse(const char *text, ImageRecord **ret, char **why) {
        g_autoptr(JsonObject) o = NULL;

        g_assert_cmpint(store_text_parse(text, strlen(text), &o), ==, 0);
        return image_record_parse(o, ret, why);
}

static void check_good(const ImageRecord *r) {
        g_assert_cmpstr(r->name, ==, "debian:12");
        g_assert_cmpstr(r->digest, ==, "sha256:" HEX_A);
        g_assert_cmpstr(r->config_digest, ==, "sha256:" HEX_B);
        g_assert_cmpstr(r->platform, ==, "linux/arm64/v8");
        g_assert_cmpuint(r->size, ==, 123);
        g_assert_cmpuint(r->manifest_size, ==, 31);
        g_assert_cmpuint(r->config_size, ==, 32);
        g_assert_cmpuint(r->created, ==, UINT64_C(1700000000000000));
        g_assert_cmpuint(r->layers->len, ==, 2);
        g_assert_cmpuint(g_array_index(r->layers, ImageLayer, 1).size, ==, 23);
        g_assert_cmpstr(r->chain_id, ==, "sha256:" HEX_AB);
        g_assert_cmpuint(r->root_uid, ==, 7);
        g_assert_cmpuint(r->root_gid, ==, 8);
        g_assert_cmpuint(r->root_mode, ==, 0750);
        g_assert_cmpstr(json_object_get_string_member(r->config, "StopSignal"), ==, "SIGQUIT");
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(r->config, "Entrypoint")), ==, 2);
        g_assert_false(json_object_has_member(r->config, "Cmd"));
        g_assert_false(json_object_has_member(r->config, "Hidden"));
        g_assert_cmpuint(r->history->len, ==, 2);
        g_assert_cmpuint(g_array_index(r->history, ImageHistory, 0).created, ==, 5);
        g_assert_cmpstr(g_array_index(r->history, ImageHistory, 0).author, ==, "me");
        g_assert_true(g_array_index(r->history, ImageHistory, 1).empty_layer);
        g_assert_cmpstr(g_array_index(r->history, ImageHistory, 1).comment, ==, "");
        g_assert_cmpstr(r->index, ==, "sha256:" HEX_AB);
        g_assert_cmpuint(r->platforms->len, ==, 1);
        g_assert_cmpstr(((ImageRecord *)g_ptr_array_index(r->platforms, 0))->platform, ==, "linux/riscv64");
}

static void test_good(void) {
        g_autoptr(ImageRecord) record = NULL, again = NULL, copy = NULL;
        g_autoptr(JsonObject) o = NULL;
        g_autofree char *why = NULL;

        g_assert_cmpint(parse(good, &record, &why), ==, 0);
        g_assert_null(why);
        check_good(record);

        record->imported = 42;
        record->pinned = true;
        o = image_record_to_json(record);
        g_assert_cmpint(image_record_parse(o, &again, &why), ==, 0);
        check_good(again);
        g_assert_cmpuint(again->imported, ==, 42);
        g_assert_true(again->pinned);

        copy = image_record_copy(again, "other");
        g_assert_cmpstr(copy->name, ==, "other:latest");
        g_assert_cmpuint(copy->history->len, ==, 2);
        g_assert_cmpuint(copy->platforms->len, ==, 1);
        g_assert_false(copy->pinned);
        g_assert_null(image_record_copy(again, "../x"));
}

/* The image's own members may be missing. */
static void test_small(void) {
        g_autoptr(ImageRecord) record = NULL;
        g_autofree char *why = NULL;

        g_assert_cmpint(
                parse("{\"name\":\"x\",\"digest\":\"sha256:" HEX_A "\",\"config_digest\":\"sha256:" HEX_B "\","
                      "\"media_type\":\"a/b\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\":1,"
                      "\"layers\":[{\"diff_id\":\"sha256:" HEX_A "\",\"digest\":\"sha256:" HEX_A "\",\"size\":1}],"
                      "\"chain_id\":\"sha256:" HEX_A "\",\"rootfs\":{\"form\":\"checkout\",\"path\":\"" DAVIT_STATE_DIR
                      "/checkouts/" HEX_A "\"},\"config\":{}}",
                      &record, &why),
                ==, 0);
        g_assert_cmpstr(record->name, ==, "x:latest");
        g_assert_cmpstr(record->platform, ==, "linux/amd64");
        g_assert_cmpuint(record->root_mode, ==, 0755);
        g_assert_cmpuint(record->created, ==, 0);
        g_assert_cmpuint(record->history->len, ==, 0);
        g_assert_cmpstr(record->index, ==, "");
        g_assert_cmpuint(record->platforms->len, ==, 0);
        g_assert_false(record->pinned);
}

/* In "good", the first occurrence of "from" becomes "to"; the phrase that comes back begins with "member". */
static const struct {
        const char *from, *to, *member;
} changes[] = {
        { "\"name\":\"debian:12\"", "\"name\":5", "name" },
        { "\"name\":\"debian:12\",", "", "name" },
        { "debian:12", "../../etc", "name" },
        { "debian:12", "a b", "name" },
        { "debian:12", "", "name" },
        { "\"digest\":\"sha256:", "\"digest\":\"sha512:", "digest" },
        { "\"digest\":\"sha256:a", "\"digest\":\"sha256:A", "digest" },
        { "\"digest\":\"sha256:a", "\"digest\":\"sha256:../", "digest" },
        { "\"digest\":\"sha256:a", "\"digest\":\"sha256:", "digest" },
        { "\"digest\":\"sha256:a", "\"digest\":\"sha256:aa", "digest" },
        { "\"config_digest\":\"sha256:" HEX_B "\"", "\"config_digest\":null", "config_digest" },
        { "application/vnd", "application/ vnd", "media_type" },
        { "application/vnd.oci.image.manifest.v1+json", "", "media_type" },
        { "{\"os\":\"linux\"", "{\"os\":\"li/nux\"", "os" },
        { "{\"os\":\"linux\"", "{\"os\":\"\"", "os" },
        { "\"arm64\"", "[]", "architecture" },
        { "\"v8\"", "\"v8\\n\"", "variant" },
        { "\"platform\":{", "\"platform\":5,\"p\":{", "platform" },
        { "\"size\":123", "\"size\":-1", "size" },
        { "\"size\":123", "\"size\":1.5", "size" },
        { "\"size\":123", "\"size\":\"123\"", "size" },
        { "\"size\":123", "\"size\":9223372036854775807", "size" },
        { "\"manifest_size\":31", "\"manifest_size\":\"31\"", "manifest_size" },
        { "\"config_size\":32", "\"config_size\":-32", "config_size" },
        { "\"created\":17", "\"created\":-17", "created" },
        { "\"layers\":[", "\"layers\":[],\"l\":[", "layers" },
        { "\"layers\":[", "\"layers\":[5,", "layers" },
        { "\"layers\":[", "\"layers\":{},\"l\":[", "layers" },
        { "\"diff_id\":\"sha256:a", "\"diff_id\":\"sha256:b", "chain_id" },
        { "\"diff_id\":\"sha256:a", "\"diff_id\":\"sha256:x", "diff_id" },
        { "\"size\":23", "\"size\":true", "size" },
        { "\"chain_id\":\"sha256:" HEX_AB, "\"chain_id\":\"sha256:" HEX_A, "chain_id" },
        { "\"rootfs\":{", "\"rootfs\":[],\"r\":{", "rootfs" },
        { "\"checkout\"", "\"bind\"", "rootfs" },
        { DAVIT_STATE_DIR "/checkouts/", "/etc/", "rootfs" },
        { DAVIT_STATE_DIR "/checkouts/", DAVIT_STATE_DIR "/checkouts/../", "rootfs" },
        { "/checkouts/" HEX_AB, "/checkouts/" HEX_A, "rootfs" },
        { "\"uid\":7", "\"uid\":4294967295", "uid" },
        { "\"uid\":7,", "", "uid" },
        { "\"mode\":488", "\"mode\":4096", "mode" },
        { "\"config\":{", "\"config\":5,\"c\":{", "config" },
        { "\"history\":[", "\"history\":{},\"h\":[", "history" },
        { "\"history\":[", "\"history\":[5,", "history" },
        { "\"created\":5", "\"created\":\"5\"", "created" },
        { "\"ADD x\"", "7", "created_by" },
        { "\"empty_layer\":true", "\"empty_layer\":1", "empty_layer" },
        { "\"index\":\"sha256:", "\"index\":\"md5:", "index" },
        { "\"platforms\":[", "\"platforms\":[[],", "platforms" },
        { "\"c/d\"", "\"c d\"", "media_type" },
        { "/erofs/" HEX_A, "/checkouts/" HEX_A, "rootfs" },
        { "\"erofs\"", "\"checkout\"", "rootfs" },
        { "[\"/bin/sh\"", "[5", "config.Entrypoint" },
        { "\"Cmd\":null", "\"Cmd\":\"sh\"", "config.Cmd" },
        { "\"PATH=/bin\"", "\"PATH\"", "config.Env" },
        { "\"PATH=/bin\"", "\"=x\"", "config.Env" },
        { "\"/srv\"", "\"/s\\u0001rv\"", "config.WorkingDir" },
        { "\"/srv\"", "{}", "config.WorkingDir" },
        { "\"www:www\"", "\"www\\n\"", "config.User" },
        { "SIGQUIT", "SIGNAL", "config.StopSignal" },
        { "SIGQUIT", "0", "config.StopSignal" },
        { "{\"a\":\"b\"}", "{\"a\":5}", "config.Labels" },
        { "{\"a\":\"b\"}", "{\"\":\"b\"}", "config.Labels" },
        { "{\"a\":\"b\"}", "{\"a\\n\":\"b\"}", "config.Labels" },
        { "[\"/v\"]", "{\"/v\":{}}", "config.Volumes" },
        { "[\"80/tcp\"]", "[null]", "config.ExposedPorts" },
};

static void test_changes(void) {
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                const char *at = strstr(good, changes[i].from);
                g_autofree char *text = NULL, *why = NULL;
                ImageRecord *record = NULL;
                int r;

                g_assert_nonnull(at);
                text = g_strdup_printf("%.*s%s%s", (int)(at - good), good, changes[i].to, at + strlen(changes[i].from));
                r = parse(text, &record, &why);
                if (r != (g_str_has_prefix(changes[i].member, "config.") ? -EINVAL : -EBADMSG))
                        g_error("change %zu (\"%s\" to \"%s\") gives %d", i, changes[i].from, changes[i].to, r);
                g_assert_null(record);
                if (!why || !g_str_has_prefix(why, changes[i].member) || why[strlen(changes[i].member)] != ' ')
                        g_error("change %zu (\"%s\" to \"%s\") blames %s", i, changes[i].from, changes[i].to, why);
        }
}

static void test_limits(void) {
        g_autofree char *big = g_strnfill(128U * 1024U, 'x');
        g_autoptr(GString) many = g_string_new("\"x\"");

        for (unsigned i = 0; i < 4096; i++)
                g_string_append(many, ",\"x\"");
        for (int i = 0; i < 2; i++) {
                g_autofree char *text = NULL, *why = NULL;
                const char *at = strstr(good, "\"/bin/sh\"");
                ImageRecord *record = NULL;

                text = g_strdup_printf("%.*s%s%s%s%s", (int)(at - good), good, i == 0 ? "\"" : "",
                                       i == 0 ? big : many->str, i == 0 ? "\"" : "", at + strlen("\"/bin/sh\""));
                g_assert_cmpint(parse(text, &record, &why), ==, -EINVAL);
                g_assert_true(g_str_has_prefix(why, "config.Entrypoint "));
        }
}

static void test_result(void) {
        g_autofree char *twice = g_strdup_printf("{\"images\":[%s,%s]}", good, good);
        g_autofree char *one = g_strdup_printf("{\"images\":[%s]}", good);
        const struct {
                const char *text;
                int result;
        } table[] = {
                { one, 0 },
                { twice, -EBADMSG },
                { "{}", -EBADMSG },
                { "{\"images\":{}}", -EBADMSG },
                { "{\"images\":[]}", -EBADMSG },
                { "{\"images\":[null]}", -EBADMSG },
                { "{\"images\":[{}]}", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autoptr(GPtrArray) records = NULL;
                g_autoptr(JsonObject) o = NULL;
                g_autofree char *why = NULL;

                g_assert_cmpint(store_text_parse(table[i].text, strlen(table[i].text), &o), ==, 0);
                g_assert_cmpint(image_records_parse(o, &records, &why), ==, table[i].result);
                g_assert_true(!why == (table[i].result == 0));
        }
}

static void test_names(void) {
        static const struct {
                const char *name, *whole; /* NULL: refused */
        } table[] = {
                { "debian", "debian:latest" },
                { "debian:12", "debian:12" },
                { "a/b/c", "a/b/c:latest" },
                { "localhost:5000/a", "localhost:5000/a:latest" },
                { "localhost:5000/a:b", "localhost:5000/a:b" },
                { "Registry.Example/some_thing-x:V1.0", "Registry.Example/some_thing-x:V1.0" },
                { "Registry.Example/Some_thing-x:V1.0", NULL },
                { "Debian", NULL },
                { "debiaN:12", NULL },
                { "example.org/a/B", NULL },
                { "A:1@sha256:" HEX_A, NULL },
                { "a@sha256:" HEX_A, "a@sha256:" HEX_A },
                { "a:1@sha256:" HEX_A, "a:1@sha256:" HEX_A },
                { "0", "0:latest" },
                { "", NULL },
                { ":", NULL },
                { "a:", NULL },
                { ":a", NULL },
                { "a:-b", NULL },
                { "a:.b", NULL },
                { "a:b:c", NULL },
                { "/a", NULL },
                { "a/", NULL },
                { "a//b", NULL },
                { ".", NULL },
                { "..", NULL },
                { "../a", NULL },
                { "a/../b", NULL },
                { "a..b", NULL },
                { "-a", NULL },
                { "a-", NULL },
                { "a b", NULL },
                { "a\nb", NULL },
                { "a\x7f", NULL },
                { "\xc3\xa4", NULL },
                { "a*", NULL },
                { "a%2f", NULL },
                { "host:port/a", NULL },
                { "host:123456/a", NULL },
                { "a/b:5/c", NULL },
                { "a@", NULL },
                { "a@sha256:abc", NULL },
                { "@sha256:" HEX_A, NULL },
                { "a@sha512:" HEX_A HEX_A, NULL },
        };
        g_autofree char *longest = g_strnfill(IMAGE_NAME_MAX, 'x'), *tag = g_strnfill(IMAGE_TAG_MAX + 1, 't');
        g_autofree char *tagged = g_strconcat("a:", tag, NULL), *whole = NULL;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree char *name = NULL;
                int r = image_name_normalise(table[i].name, &name);

                g_assert_cmpint(r, ==, table[i].whole ? 0 : -EINVAL);
                g_assert_cmpstr(name, ==, table[i].whole);
        }
        g_assert_nonnull(strstr(image_name_why("Debian:12"), "lower case"));
        g_assert_nonnull(strstr(image_name_why("example.org/A/b"), "lower case"));
        g_assert_null(strstr(image_name_why("A b"), "lower case"));
        g_assert_nonnull(strstr(image_name_why("debian@sha256:12ab"), "whole digest"));
        g_assert_nonnull(strstr(image_name_why("debian:12@bookworm"), "whole digest"));
        g_assert_cmpint(image_name_normalise(longest, &whole), ==, -EINVAL); /* with ":latest" it is too long */
        g_assert_nonnull(strstr(image_name_why(longest), "at most 255"));
        longest[IMAGE_NAME_MAX - strlen(":latest")] = '\0';
        g_assert_cmpint(image_name_normalise(longest, &whole), ==, 0);
        g_assert_cmpuint(strlen(whole), ==, IMAGE_NAME_MAX);
        g_clear_pointer(&whole, g_free);
        g_assert_cmpint(image_name_normalise(tagged, &whole), ==, -EINVAL);
        tagged[strlen(tagged) - 1] = '\0';
        g_assert_cmpint(image_name_normalise(tagged, &whole), ==, 0);
}

static void test_matches(void) {
        static const char *const yes[] = {
                "host:5000/team/app:1", "host:5000/team/app", "team/app:1", "team/app", "app:1", "app"
        };
        static const char *const no[] = { "",  "host:5000/team", "pp",   "pp:1", "app:", "app:2",
                                          "1", "team",           "host", "/app" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++)
                g_assert_true(image_name_matches("host:5000/team/app:1", yes[i]));
        for (size_t i = 0; i < ELEMENTSOF(no); i++)
                g_assert_false(image_name_matches("host:5000/team/app:1", no[i]));
        g_assert_true(image_name_matches("app:1@sha256:" HEX_A, "app"));
        g_assert_true(image_name_matches("", ""));
        g_assert_false(image_name_matches("", "app"));
}

static void test_host(void) {
        static const char *const hosts[] = { "host:5000", "registry.example", "localhost", "HOST", "127.0.0.1:1" };
        static const char *const none[] = { "app",        "app:1",          "team/app:1",
                                            "team/app.d", "localhosts/app", "team/localhost/app" };

        for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
                g_autofree char *name = g_strconcat(hosts[i], "/team/app:1", NULL);

                g_assert_cmpuint(image_name_host(name), ==, strlen(hosts[i]));
        }
        for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
                g_assert_cmpuint(image_name_host(none[i]), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/image-record/good", test_good);
        g_test_add_func("/image-record/small", test_small);
        g_test_add_func("/image-record/changes", test_changes);
        g_test_add_func("/image-record/limits", test_limits);
        g_test_add_func("/image-record/result", test_result);
        g_test_add_func("/image-name/names", test_names);
        g_test_add_func("/image-name/matches", test_matches);
        g_test_add_func("/image-name/host", test_host);
        return g_test_run();
}
