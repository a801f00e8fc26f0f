/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon's tables: error names, process states, configuration keys, controllers. Every pair of states is tried.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/config.h"
#include "daemon/error.h"
#include "daemon/limits.h"
#include "daemon/options.h"
#include "daemon/process.h"
#include "daemon/stdio.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"

static void test_errors(void) {
        for (ErrorKind k = 0; k < _ERROR_KIND_MAX; k++) {
                ErrorKind back;

                g_assert_true(error_kind_from_name(error_kind_name(k), &back));
                g_assert_cmpint(back, ==, k);
                g_assert_true(error_kind_from_name(error_kind_bus_name(k), &back));
                g_assert_cmpint(back, ==, k);
                g_assert_cmpint(error_kind_from_errno(error_kind_errno(k)), ==, k);
                g_assert_cmpint(error_kind_errno(k), <, 0);
        }
        g_assert_cmpint(error_kind_from_errno(-EXDEV), ==, ERROR_INTERNAL);
        g_assert_cmpint(error_kind_from_errno(ENOMEM), ==, ERROR_RESOURCE_EXHAUSTED);
}

static void test_first_error_stays(void) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;

        g_assert_cmpint(error_not_found(&e, "There is no %s.", "x"), ==, -ENOENT);
        g_assert_cmpint(error_set_errno(&e, -EIO, "Later"), ==, -EIO);
        g_assert_cmpstr(e.name, ==, "org.davit.Davit1.Error.NotFound");
        g_assert_cmpstr(e.message, ==, "There is no x.");
        g_assert_cmpint(error_internal(NULL, "Nobody listens."), ==, -EIO);
}

static void test_transitions(void) {
        static const char *const allowed[_TASK_STATUS_MAX] = {
                /* to: unknown created running pausing paused stopped */
                [TASK_UNKNOWN] = "-+++++", [TASK_CREATED] = "+-+--+", [TASK_RUNNING] = "+--+++",
                [TASK_PAUSING] = "+-+-++", [TASK_PAUSED] = "+-+--+",  [TASK_STOPPED] = "------",
        };

        for (int from = 0; from < _TASK_STATUS_MAX; from++)
                for (int to = 0; to < _TASK_STATUS_MAX; to++)
                        if (process_transition_allowed((enum task_status)from, (enum task_status)to) !=
                            (allowed[from][to] == '+'))
                                g_error("%s to %s is not as the table says", task_status_name((uint32_t)from),
                                        task_status_name((uint32_t)to));
        g_assert_false(process_transition_allowed(_TASK_STATUS_MAX, TASK_RUNNING));
        g_assert_false(process_transition_allowed(TASK_RUNNING, _TASK_STATUS_MAX));
}

/* A caller that vanishes costs nothing; those that stay hear of the end. */
static void test_wait_fds(void) {
        Manager m = {};
        Namespace ns = { .manager = &m };
        Task t = { .ns = &ns };
        Process *p = &t.process;
        char line[64] = "";
        int gone, stays;

        g_assert_cmpint(sd_event_new(&m.event), ==, 0);
        process_init(p, &t, "", g_strdup("/x"));
        p->status = TASK_RUNNING;
        g_assert_cmpint(process_wait_fd(p, &stays), ==, 0);
        for (int i = 0; i < 100; i++) {
                g_assert_cmpint(process_wait_fd(p, &gone), ==, 0);
                (void)close(gone);
        }
        while (sd_event_run(m.event, 0) > 0)
                ;
        g_assert_cmpuint(p->wait_fds->len, ==, 1);
        process_set_exited(p, 3, EXIT_KIND_EXITED, 5);
        (void)signal(SIGPIPE, SIG_IGN); /* as systemd has it for the daemon */
        process_tell(p);
        g_assert_cmpint(read(stays, line, sizeof(line) - 1), >, 0);
        g_assert_cmpstr(line, ==, "3 exited 5\n");
        (void)close(stays);
        process_done(p);
        sd_event_unref(m.event);
}

/* The end of an operation touches its own container alone. */
static void test_container_again(void) {
        g_autoptr(GHashTable) namespaces = g_hash_table_new(g_str_hash, g_str_equal);
        g_autoptr(GHashTable) containers = g_hash_table_new(g_str_hash, g_str_equal);
        Manager m = { .namespaces = namespaces };
        Namespace ns = { .manager = &m, .containers = containers };
        Container c = { .ns = &ns, .created_at = 7 };
        Task t = {};

        g_assert_null(container_again(&m, "a", "x", 7));
        g_hash_table_insert(namespaces, (char *)"a", &ns);
        g_assert_null(container_again(&m, "a", "x", 7));
        g_hash_table_insert(containers, (char *)"x", &c);
        g_assert_true(container_again(&m, "a", "x", 7) == &c);
        g_assert_null(container_again(&m, "a", "x", 6));
        c.task = &t;
        g_assert_null(container_again(&m, "a", "x", 7));
}

static void test_auto_remove(void) {
        for (AutoRemove a = 0; a < _AUTO_REMOVE_MAX; a++)
                g_assert_cmpint(auto_remove_from_name(auto_remove_name(a)), ==, a);
        g_assert_cmpint(auto_remove_from_name("yes"), ==, _AUTO_REMOVE_INVALID);
        g_assert_cmpstr(auto_remove_name(_AUTO_REMOVE_INVALID), ==, "no");
}

static char *write_file(const char *dir, const char *name, const char *text) {
        char *path = g_build_filename(dir, name, NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        return path;
}

static void test_config(void) {
        g_autofree char *dir = g_dir_make_tmp("davit-config-XXXXXX", NULL);
        g_autofree char *one = write_file(dir, "1.conf", "[Manager]\nWarmShims=5\nKeepWarmUSec=7\nNoSuchKey=1\n");
        g_autofree char *two = write_file(dir, "2.conf", "[Manager]\nKeepWarmUSec=0\nWarmShims=100000\n[Other]\nX=1\n");
        g_autofree char *bad = write_file(dir, "3.conf", "no section\n");
        const char *const files[] = { "/nonexistent/davit.conf", one, two, NULL };
        const char *const broken[] = { bad, one, NULL };
        Config c, defaults;

        config_set_defaults(&defaults);
        config_set_defaults(&c);
        g_assert_cmpint(config_load(&c, files), ==, 0);
        g_assert_cmpuint(c.warm_shims, ==, 5); /* out of range in the later file: what was there stays */
        g_assert_cmpuint(c.keep_warm_usec, ==, 0);
        g_assert_cmpuint(c.stop_timeout_usec, ==, defaults.stop_timeout_usec);
        config_done(&c);
        config_set_defaults(&c);
        g_assert_cmpint(config_load(&c, broken), <, 0);
        g_assert_cmpuint(c.warm_shims, ==, 5); /* a broken file does not keep the next one from being read */
        config_done(&c);
        config_done(&defaults);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, dir), ==, 0);
}

/* Sections, lists and words; a value that is not one leaves what an earlier file said. */
static void test_config_sections(void) {
        g_autofree char *dir = g_dir_make_tmp("davit-config-XXXXXX", NULL);
        g_autofree char *one =
                write_file(dir, "1.conf",
                           "[Limits]\nBytes=5\nLayers=513\nImages=0\n[Images]\n"
                           "ShortNameRegistries=a.example/x,  b.example\n[Store]\nRootFilesystem=checkout\n");
        g_autofree char *two =
                write_file(dir, "2.conf", "[Store]\nRootFilesystem=floppy\nBytes=6\n[Images]\nShortNameRegistries=\n");
        const char *const first[] = { one, NULL }, *const second[] = { two, NULL };
        Config c;

        config_set_defaults(&c);
        g_assert_cmpstr(c.root_filesystem, ==, "auto");
        g_assert_cmpstr(c.short_name_registries[0], ==, "docker.io/library");
        g_assert_cmpint(config_load(&c, first), ==, 0);
        g_assert_cmpuint(c.limits[LIMIT_BYTES], ==, 5);
        g_assert_cmpuint(c.limits[LIMIT_LAYERS], ==, 256);
        g_assert_cmpuint(c.limits[LIMIT_IMAGES], ==, 64);
        g_assert_cmpstr(c.root_filesystem, ==, "checkout");
        g_assert_cmpstr(c.short_name_registries[0], ==, "a.example/x");
        g_assert_cmpstr(c.short_name_registries[1], ==, "b.example");
        g_assert_null(c.short_name_registries[2]);
        g_assert_cmpint(config_load(&c, second), ==, 0);
        g_assert_cmpstr(c.root_filesystem, ==, "checkout");
        g_assert_null(c.short_name_registries[0]);
        g_assert_cmpuint(c.limits[LIMIT_BYTES], ==, 5);
        for (ConfigLimit l = 0; l < _LIMIT_MAX; l++) {
                g_assert_cmpuint(c.limits[l], <=, config_limit_max(l));
                g_assert_cmpuint(strlen(config_limit_name(l)), >, 0);
        }
        config_done(&c);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, dir), ==, 0);
}

static void make_controller(const char *root, const char *name) {
        g_autofree char *dir = g_build_filename(root, name, NULL);
        g_autofree char *tasks = NULL;

        g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
        tasks = write_file(dir, "tasks", "");
}

/* The answer of a shim that takes SHIM_STDIO_DROP for a mistake, and others that look alike. */
static void test_drop_unknown(void) {
        struct shim_failed f = { .error = -EBADMSG, .step = SHIM_STEP_STDIO };
        Stdio io = { .modes = { .out = SHIM_STDIO_PIPE, .err = SHIM_STDIO_DROP } };

        g_assert_true(stdio_drop_unknown(&io, &f));
        g_assert_false(stdio_drop_unknown(&io, NULL));
        f.error = -EMFILE;
        g_assert_false(stdio_drop_unknown(&io, &f));
        f = (struct shim_failed){ .error = -EBADMSG, .step = SHIM_STEP_PLAN };
        g_assert_false(stdio_drop_unknown(&io, &f));
        f.step = SHIM_STEP_STDIO;
        io.modes.err = SHIM_STDIO_PIPE;
        g_assert_false(stdio_drop_unknown(&io, &f));
}

static void test_limits(void) {
        g_autofree char *dir = g_dir_make_tmp("davit-limits-XXXXXX", NULL);
        g_autofree char *proc = write_file(dir, "cgroups",
                                           "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t9\t1\n"
                                           "pids\t5\t9\t0\nblkio\t6\t9\t1\ncpuset\t7\t9\t1\n");
        Limits *l;

        make_controller(dir, "memory");
        make_controller(dir, "pids");
        make_controller(dir, "blkio");
        make_controller(dir, "cpuset");
        g_assert_cmpint(limits_new(dir, proc, &l), ==, 0);
        g_assert_true(limits_hybrid(l));
        g_assert_true(limits_enforced(l, "memory"));
        g_assert_true(limits_enforced(l, "io"));
        g_assert_true(limits_enforced(l, ""));
        g_assert_true(limits_enforced(l, NULL));
        g_assert_false(limits_enforced(l, "pids"));   /* there, but switched off */
        g_assert_false(limits_enforced(l, "cpu"));    /* not mounted */
        g_assert_false(limits_enforced(l, "cpuset")); /* systemd would not use it */
        g_assert_true(limits_property_enforced(l, "MemoryMax", "memory"));
        g_assert_false(limits_property_enforced(l, "MemoryHigh", "memory")); /* systemd writes no file for it */
        g_assert_false(limits_unified(l, "memory"));
        (void)limits_free(l);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, dir), ==, 0);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/error/table", test_errors);
        g_test_add_func("/error/first", test_first_error_stays);
        g_test_add_func("/process/transitions", test_transitions);
        g_test_add_func("/process/wait-fds", test_wait_fds);
        g_test_add_func("/container/again", test_container_again);
        g_test_add_func("/options/auto-remove", test_auto_remove);
        g_test_add_func("/config/files", test_config);
        g_test_add_func("/config/sections", test_config_sections);
        g_test_add_func("/limits/hybrid", test_limits);
        g_test_add_func("/stdio/drop-unknown", test_drop_unknown);
        return g_test_run();
}
