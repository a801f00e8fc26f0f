/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Records: what is written comes back, any name is one file, and one broken record never hides another.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/record.h"
#include "shared/fd.h"
#include "shared/macros.h"

static int root_fd;

static JsonObject *sample(const char *image) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "image", image);
        json_object_set_int_member(o, "number", 42);
        return o;
}

static void put(const char *kind, const char *name, const char *image) {
        g_autoptr(JsonObject) o = sample(image);

        g_assert_cmpint(record_write(root_fd, "default", kind, name, o, true), ==, 0);
}

static void put_raw(const char *kind, const char *file, const char *text) {
        g_autofree char *path = g_strdup_printf("namespaces/default/%s", kind);
        _cleanup_close_ int fd = dir_open_at(root_fd, path, 0700);

        g_assert_cmpint(file_replace_at(fd, file, text, strlen(text), 0600, false), ==, 0);
}

static int collect(const char *name, JsonObject *record, void *userdata) {
        const char *image;

        g_assert_cmpint(record_get_string(record, "image", &image), ==, 0);
        if (g_str_equal(image, "refused"))
                return -EINVAL;
        g_ptr_array_add(userdata, g_strdup(name));
        return 0;
}

static void test_round_trip(void) {
        static const char *const names[] = {
                "web", "a.b-c_d", "..", ".hidden", "sp ace/and:slash", "\303\244", "%41", "docker.io/x:1", "x.json", ""
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                g_autoptr(JsonObject) o = NULL;
                const char *s;
                uint64_t n;

                put("images", names[i], names[i]);
                g_assert_cmpint(record_read(root_fd, "default", "images", names[i], &o), ==, 0);
                g_assert_cmpint(record_get_string(o, "image", &s), ==, 0);
                g_assert_cmpstr(s, ==, names[i]);
                g_assert_cmpint(record_get_u64(o, "number", &n), ==, 0);
                g_assert_cmpuint(n, ==, 42);
        }
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                g_assert_cmpint(record_remove(root_fd, "default", "images", names[i], true), ==, 0);
        g_assert_cmpint(record_remove(root_fd, "default", "images", "web", true), ==, 0);
}

static void test_names_are_components(void) {
        g_autofree char *long_name = g_strnfill(4096, 'x'), *other = g_strnfill(4095, 'x');
        g_autofree char *a = record_file_name(long_name), *b = record_file_name(other), *dots = record_file_name("..");

        g_assert_cmpuint(strlen(a), <, 255);
        g_assert_cmpstr(a, !=, b);
        g_assert_null(strchr(dots, '/'));
        g_assert_cmpint(dots[0], !=, '.');
}

static void test_broken_hides_nothing(void) {
        g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
        struct stat st;

        put("broken", "one", "x");
        put("broken", "two", "x");
        put("broken", "three", "refused");
        put_raw("broken", "empty.json", "");
        put_raw("broken", "cut.json", "{\"version\":1,\"name\":\"cut\",\"ima");
        put_raw("broken", "array.json", "[]");
        put_raw("broken", "newer.json", "{\"version\":99,\"name\":\"newer\",\"image\":\"x\"}");
        put_raw("broken", "without.json", "{\"name\":\"without\",\"image\":\"x\"}");
        put_raw("broken", "other.json", "{\"version\":1,\"name\":\"one\",\"image\":\"x\"}");
        put_raw("broken", ".#left.json.1.2", "{");
        g_assert_cmpint(record_foreach(root_fd, "default", "broken", collect, found), >=, 0);
        g_assert_cmpuint(found->len, ==, 2);
        g_assert_cmpint(fstatat(root_fd, "namespaces/default/broken/newer.json", &st, 0), ==, 0);
        g_assert_cmpint(fstatat(root_fd, "namespaces/default/broken/.#left.json.1.2", &st, 0), ==, -1);
}

static void test_nothing_there(void) {
        g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(JsonObject) o = NULL;

        g_assert_cmpint(record_foreach(root_fd, "nobody", "containers", collect, found), ==, 0);
        g_assert_cmpint(record_read(root_fd, "nobody", "containers", "x", &o), ==, -ENOENT);
}

static void test_members(void) {
        g_autoptr(JsonObject) o = json_object_new();
        g_autoptr(GHashTable) labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_autoptr(GHashTable) back = NULL;
        g_auto(GStrv) v = NULL;
        static const char *const words[] = { "a", "", "c", NULL };
        const char *s;
        uint64_t n;

        g_hash_table_insert(labels, g_strdup("key"), g_strdup("value"));
        record_set_strv(o, "words", words);
        record_set_labels(o, "labels", labels);
        json_object_set_int_member(o, "negative", -1);
        json_object_set_double_member(o, "half", 0.5);
        g_assert_cmpint(record_get_strv(o, "words", &v), ==, 0);
        g_assert_cmpstrv(v, words);
        g_assert_cmpint(record_get_labels(o, "labels", &back), ==, 0);
        g_assert_cmpstr(g_hash_table_lookup(back, "key"), ==, "value");
        g_clear_pointer(&back, g_hash_table_unref);
        g_hash_table_remove_all(labels);
        record_set_labels(o, "none", labels);
        record_set_labels(o, "none", NULL);
        g_assert_false(json_object_has_member(o, "none"));
        g_assert_cmpint(record_get_labels(o, "none", &back), ==, 0);
        g_assert_cmpuint(g_hash_table_size(back), ==, 0);
        g_assert_cmpint(record_get_labels(o, "words", &back), ==, -EINVAL);
        g_assert_cmpint(record_get_u64(o, "negative", &n), ==, -EINVAL);
        g_assert_cmpint(record_get_u64(o, "half", &n), ==, -EINVAL);
        g_assert_cmpint(record_get_u64(o, "missing", &n), ==, -ENOENT);
        g_assert_cmpint(record_get_string(o, "words", &s), ==, -EINVAL);
}

int main(int argc, char *argv[]) {
        g_autofree char *dir = g_dir_make_tmp("davit-record-XXXXXX", NULL);
        int r;

        g_test_init(&argc, &argv, NULL);
        root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(root_fd, >=, 0);
        g_test_add_func("/record/round-trip", test_round_trip);
        g_test_add_func("/record/names", test_names_are_components);
        g_test_add_func("/record/broken", test_broken_hides_nothing);
        g_test_add_func("/record/nothing", test_nothing_there);
        g_test_add_func("/record/members", test_members);
        r = g_test_run();
        g_assert_cmpint(tree_remove_at(AT_FDCWD, dir), ==, 0);
        return r;
}
