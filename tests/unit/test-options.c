/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Option dictionaries and object paths: what fits arrives, what does not is refused by its name, descriptors are not
 * lost either way.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/options.h"
#include "shared/macros.h"
#include "tests/unit/bus-pair.h"

static BusPair pair;

static sd_bus_message *begin(void) {
        sd_bus_message *m;

        g_assert_cmpint(sd_bus_message_new_method_call(pair.client, &m, NULL, "/x", "x.y", "Z"), >=, 0);
        g_assert_cmpint(sd_bus_message_open_container(m, 'a', "{sv}"), >=, 0);
        return m;
}

static int read_options(sd_bus_message *m, OptionMask mask, Options *o, sd_bus_error *error) {
        g_assert_cmpint(sd_bus_message_close_container(m), >=, 0);
        g_assert_cmpint(sd_bus_message_seal(m, 1, 0), >=, 0);
        return options_read(m, mask, o, error);
}

static unsigned count_fds(void) {
        GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        g_dir_close(dir);
        return n;
}

static void test_fit(void) {
        _cleanup_bus_message_ sd_bus_message *m = begin();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        SpecOptions spec;

        g_assert_cmpint(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}", "Env", "as", 2, "A=1", "B", "MemoryMax", "t",
                                              UINT64_C(1) << 40, "Terminal", "b", 1, "Labels", "a{ss}", 1, "k", "v",
                                              "AutoRemove", "s", "container"),
                        >=, 0);
        g_assert_cmpint(sd_bus_message_append(m, "{sv}", "MemorySwapMax", "t", UINT64_C(0)), >=, 0);
        g_assert_cmpint(sd_bus_message_append(m, "{sv}", "Mounts", "a(ssss)", 1, "bind", "/a", "/b", "ro"), >=, 0);
        g_assert_cmpint(read_options(m, OPTION_CREATE, &o, &error), >=, 0);
        g_assert_cmpint(o.auto_remove, ==, AUTO_REMOVE_CONTAINER);
        g_assert_cmpstr(g_hash_table_lookup(o.labels, "k"), ==, "v");
        options_get_spec(&o, &spec);
        g_assert_cmpstr(spec.env[1], ==, "B");
        g_assert_cmpuint(spec.memory_max, ==, UINT64_C(1) << 40);
        g_assert_true(spec.has_memory_swap_max);
        g_assert_cmpuint(spec.memory_swap_max, ==, 0);
        g_assert_true(spec.terminal);
        g_assert_cmpuint(spec.n_mounts, ==, 1);
        g_assert_cmpstr(spec.mounts[0].target, ==, "/b");
        g_assert_true(options_change_spec(&o));
}

static void refuse(OptionMask mask, const char *key, const char *type, ...) {
        _cleanup_bus_message_ sd_bus_message *m = begin();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        va_list ap;

        g_assert_cmpint(sd_bus_message_open_container(m, 'e', "sv"), >=, 0);
        g_assert_cmpint(sd_bus_message_append(m, "s", key), >=, 0);
        g_assert_cmpint(sd_bus_message_open_container(m, 'v', type), >=, 0);
        va_start(ap, type);
        g_assert_cmpint(sd_bus_message_appendv(m, type, ap), >=, 0);
        va_end(ap);
        g_assert_cmpint(sd_bus_message_close_container(m), >=, 0);
        g_assert_cmpint(sd_bus_message_close_container(m), >=, 0);
        g_assert_cmpint(read_options(m, mask, &o, &error), ==, -EINVAL);
        g_assert_cmpstr(error.name, ==, "org.davit.Davit1.Error.InvalidArgument");
        g_assert_nonnull(strstr(error.message, key));
}

static void test_refused(void) {
        refuse(OPTION_CREATE, "NoSuchKey", "s", "x");
        refuse(OPTION_CREATE, "Env", "s", "A=1");
        refuse(OPTION_CREATE, "MemoryMax", "u", 1);
        refuse(OPTION_CREATE, "MemorySwapMax", "s", "1g");
        refuse(OPTION_EXEC, "MemorySwapMax", "t", UINT64_C(0)); /* of another call */
        refuse(OPTION_CREATE, "Stdin", "s", "x");               /* of another call */
        refuse(OPTION_UPDATE, "Rootfs", "s", "/");
        refuse(OPTION_TASK, "AutoRemove", "b", 1);
        refuse(OPTION_TASK, "AutoRemove", "s", "yes");
        refuse(OPTION_TASK, "Output", "s", "/dev/full");
        refuse(OPTION_EXEC, "DropAfterUSec", "t", UINT64_C(1) << 63);
        refuse(OPTION_EXEC, "DropAfterUSec", "t", UINT64_C(9999));
        refuse(OPTION_CREATE, "DropAfterUSec", "t", UINT64_C(10000)); /* of another call */
        refuse(OPTION_TASK, "ConsoleSize", "(uu)", 70000, 1);
        refuse(OPTION_CREATE, "StopSignal", "s", "NOPE");
        refuse(OPTION_STOP, "Signal", "s", "0x9");
        refuse(OPTION_CREATE, "", "s", "x");
}

static void test_twice(void) {
        _cleanup_bus_message_ sd_bus_message *m = begin();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;

        g_assert_cmpint(sd_bus_message_append(m, "{sv}{sv}", "User", "s", "a", "User", "s", "b"), >=, 0);
        g_assert_cmpint(read_options(m, OPTION_CREATE, &o, &error), ==, -EINVAL);
        g_assert_nonnull(strstr(error.message, "User"));
}

static void test_descriptors(void) {
        unsigned before = count_fds();
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int bad = 0; bad < 2; bad++) {
                _cleanup_bus_message_ sd_bus_message *m = begin();
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                _cleanup_(options_done) Options o = OPTIONS_NULL;

                g_assert_cmpint(sd_bus_message_append(m, "{sv}{sv}", "Stdin", "h", fd, "ListenFDs", "ah", 2, fd, fd),
                                >=, 0);
                if (bad)
                        g_assert_cmpint(sd_bus_message_append(m, "{sv}", "Bad", "h", fd), >=, 0);
                g_assert_cmpint(read_options(m, OPTION_TASK, &o, &error) < 0, ==, bad);
                if (!bad) {
                        g_assert_cmpint(o.stdin_fd, >=, 3);
                        g_assert_cmpint(fcntl(o.stdin_fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
                        g_assert_cmpuint(o.listen_fds->len, ==, 2);
                }
        }
        (void)close(fd);
        g_assert_cmpuint(count_fds(), ==, before);
}

static void test_spec_is_no_pipe(void) {
        _cleanup_bus_message_ sd_bus_message *m = begin();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        int fds[2];

        g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
        g_assert_cmpint(sd_bus_message_append(m, "{sv}", "Spec", "h", fds[0]), >=, 0);
        g_assert_cmpint(read_options(m, OPTION_CREATE, &o, &error), ==, -EINVAL);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static void test_paths(void) {
        static const char *const ids[] = { "web", "a.b-c", "0", "UPPER_lower", "x" };
        static const char *const wrong[] = { "/org/davit/Davit1",
                                             "/org/davit/Davit1/ns",
                                             "/org/davit/Davit1/ns/a/container",
                                             "/org/davit/Davit1/ns/a/container/",
                                             "/org/davit/Davit1/ns/a/container/b/c",
                                             "/org/davit/Davit1/ns/a/task/b",
                                             "/org/davit/Davit1/nsx/a/container/b",
                                             "/org/davit/Davit1/ns//container/b" };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                g_autofree char *path = bus_object_path("my-ns", "container", ids[i]), *ns = NULL, *id = NULL;

                g_assert_true(sd_bus_object_path_is_valid(path));
                g_assert_cmpint(bus_object_parse(path, "container", &ns, &id), ==, 1);
                g_assert_cmpstr(ns, ==, "my-ns");
                g_assert_cmpstr(id, ==, ids[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char *ns = NULL, *id = NULL;

                if (bus_object_parse(wrong[i], "container", &ns, &id) > 0)
                        g_error("%s is taken for a container", wrong[i]);
        }
}

static void test_label_filters(void) {
        g_autoptr(GHashTable) l = g_hash_table_new(g_str_hash, g_str_equal);
        char *key[] = { (char *)"a", NULL }, *value[] = { (char *)"a=1", NULL }, *other[] = { (char *)"a=2", NULL };
        char *both[] = { (char *)"a=1", (char *)"b", NULL }, *none[] = { NULL };

        g_hash_table_insert(l, (char *)"a", (char *)"1");
        g_assert_true(bus_labels_match(l, key));
        g_assert_true(bus_labels_match(l, value));
        g_assert_true(bus_labels_match(l, none));
        g_assert_true(bus_labels_match(NULL, NULL));
        g_assert_false(bus_labels_match(l, other));
        g_assert_false(bus_labels_match(l, both));
        g_assert_false(bus_labels_match(NULL, key));
}

int main(int argc, char *argv[]) {
        int r;

        g_test_init(&argc, &argv, NULL);
        bus_pair_open(&pair);
        for (int i = 0; i < 20; i++)
                g_assert_cmpint(sd_event_run(pair.event, 1000), >=, 0);
        g_test_add_func("/options/fit", test_fit);
        g_test_add_func("/options/refused", test_refused);
        g_test_add_func("/options/twice", test_twice);
        g_test_add_func("/options/descriptors", test_descriptors);
        g_test_add_func("/options/spec-pipe", test_spec_is_no_pipe);
        g_test_add_func("/bus/paths", test_paths);
        g_test_add_func("/bus/labels", test_label_filters);
        r = g_test_run();
        bus_pair_close(&pair);
        return r;
}
