/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The default configuration, images and options applied to it, and processes of an exec.
 *
 * Each case says in JSON what must have become of the configuration; what it does not name must be
 * the default's own.
 */

#include "plan/capabilities.h"
#include "tests/unit/plan-test.h"

#define STRV(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* What a container's definition is made of: the image first, which takes the command with it. */
static gboolean apply(JsonNode *spec, const char *image, const SpecOptions *options, GError **error) {
        SpecOptions rest = options ? *options : (SpecOptions){};

        if (image) {
                g_autoptr(JsonNode) config = json(image);

                if (!spec_apply_image(spec, json_node_get_object(config), options, error))
                        return FALSE;
                rest.entrypoint = rest.command = NULL;
        }
        return !options || spec_apply_options(spec, &rest, error);
}

/* The default patched by "change" must be what image and options have made. */
static void expect(const char *image, const SpecOptions *options, const char *change) {
        g_autoptr(JsonNode) spec = spec_default_new(), plain = spec_default_new(), patch = json(change), want = NULL;
        g_autoptr(GError) error = NULL;

        if (!apply(spec, image, options, &error))
                g_error("%s: %s", change, error->message);
        want = spec_merge_patch(plain, patch);
        if (!json_node_equal(spec, want)) {
                g_autofree char *a = spec_to_string(spec), *b = spec_to_string(want);

                g_error("%s\ninstead of\n%s", a, b);
        }
}

static void expect_error(const char *image, const SpecOptions *options, PlanError code, const char *message) {
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autoptr(GError) error = NULL;

        g_assert_false(apply(spec, image, options, &error));
        if (!g_error_matches(error, PLAN_ERROR, (int)code) || !strstr(error->message, message))
                g_error("code %d, \"%s\" instead of code %d, \"%s\"", error->code, error->message, (int)code, message);
}

#define PATH "'PATH=" SPEC_DEFAULT_PATH "'"

static void test_image(void) {
        static const SpecOptions none = {};

        expect("{'config':{'Cmd':['bash']}}", &none, "{'process':{'args':['bash']}}");
        expect("{'Cmd':['bash']}", &none, "{'process':{'args':['bash']}}");
        expect("{'config':{'Entrypoint':['/e','-x'],'Cmd':['bash']}}", NULL, "{'process':{'args':['/e','-x','bash']}}");
        expect("{'config':{'Cmd':['a'],'Env':['PATH=/x','A=1','A=2','B='],'WorkingDir':'/"
               "srv','User':'www:adm','StopSignal':'SIGQUIT',"
               "'Labels':{'org.davit.seccomp':'unconfined'},'Volumes':{'/v':{}},'ExposedPorts':{'80/tcp':{}}}}",
               &none,
               "{'process':{'args':['a'],'env':['PATH=/x','A=2','B='],'cwd':'/srv','user':{'username':'www:adm'}},"
               "'annotations':{'org.opencontainers.image.stopSignal':'SIGQUIT'}}");
        expect("{'config':{'Cmd':['a'],'WorkingDir':'srv','User':'','Env':null}}", &none,
               "{'process':{'args':['a'],'cwd':'/srv'}}");
}

static void test_image_command(void) {
        static const char image[] = "{'config':{'Entrypoint':['/e'],'Cmd':['c']}}";

        expect(image, &(SpecOptions){ .command = STRV("x", "y") }, "{'process':{'args':['/e','x','y']}}");
        expect(image, &(SpecOptions){ .command = (const char *const[]){ NULL } }, "{'process':{'args':['/e','c']}}");
        expect(image, &(SpecOptions){ .entrypoint = STRV("/n") }, "{'process':{'args':['/n']}}");
        expect(image, &(SpecOptions){ .entrypoint = STRV("/n"), .command = STRV("x") },
               "{'process':{'args':['/n','x']}}");
        expect(image, &(SpecOptions){ .entrypoint = (const char *const[]){ NULL }, .command = STRV("x") },
               "{'process':{'args':['x']}}");
        expect(NULL, &(SpecOptions){ .command = STRV("x", "y") }, "{'process':{'args':['x','y']}}");
        expect(NULL, &(SpecOptions){ .entrypoint = STRV("/n"), .command = STRV("x") },
               "{'process':{'args':['/n','x']}}");
        expect_error(image, &(SpecOptions){ .entrypoint = (const char *const[]){ NULL } }, PLAN_ERROR_INVALID,
                     "process.args");
        expect_error("{'config':{}}", NULL, PLAN_ERROR_INVALID, "process.args");
}

/* A whole configuration has no entrypoint that a command would come after, however its arguments end. */
static void test_whole_command(void) {
        static const struct {
                const char *command[4], *whole;
        } cases[] = {
                { { "id" }, "{'process':{'args':['id']}}" },
                { { "whole" }, "{'process':{'args':['whole']}}" },
                { { "echo", "whole" }, "{'process':{'args':['echo','whole']}}" },
                { { NULL }, "{'process':{'args':['echo','whole']}}" },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(JsonNode) spec = patched("{'process':{'args':['echo','whole']}}");
                g_autoptr(JsonNode) want = patched(cases[i].whole);
                g_autoptr(GError) error = NULL;

                g_assert_true(spec_apply_options(spec, &(SpecOptions){ .command = cases[i].command }, &error));
                g_assert_true(json_node_equal(spec, want));
        }
}

static void test_image_bad(void) {
        static const char *const bad[] = {
                "{'config':{'Cmd':'bash'}}",
                "{'config':{'Cmd':[1]}}",
                "{'config':{'Cmd':['a'],'Env':['A']}}",
                "{'config':{'Cmd':['a'],'Env':['=1']}}",
                "{'config':{'Cmd':['a'],'Env':{}}}",
                "{'config':{'Cmd':['a'],'User':0}}",
                "{'config':{'Cmd':['a'],'WorkingDir':[]}}",
                "{'config':{'Cmd':['a'],'StopSignal':'SIGNOSUCH'}}",
                "{'config':[]}",
        };

        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                expect_error(bad[i], NULL, PLAN_ERROR_INVALID, "image ");
}

static void test_options(void) {
        static const SpecMount mounts[] = { { "bind", "/src", "/dst", "rbind,ro" }, { "tmpfs", NULL, "/t", NULL } };
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autoptr(GError) error = NULL;
        JsonArray *array;

        expect(NULL, &(SpecOptions){ .hostname = "h" }, "{'hostname':'h','process':{'env':[" PATH ",'HOSTNAME=h']}}");
        expect(NULL, &(SpecOptions){ .working_dir = "/w", .user = "1000" },
               "{'process':{'cwd':'/w','user':{'username':'1000'}}}");
        expect(NULL, &(SpecOptions){ .read_only = TRUE }, "{'root':{'readonly':true}}");
        expect(NULL, &(SpecOptions){ .network = "none" }, "{}");
        expect(NULL, &(SpecOptions){ .terminal = TRUE, .console_width = 80, .console_height = 24 },
               "{'process':{'terminal':true,'consoleSize':{'width':80,'height':24},'env':[" PATH ",'TERM=xterm']}}");
        expect(NULL, &(SpecOptions){ .terminal = TRUE, .env = STRV("TERM=vt100", "A=1", "PATH", "NONE") },
               "{'process':{'terminal':true,'env':['TERM=vt100','A=1']}}");
        expect(NULL, &(SpecOptions){ .memory_max = 1 << 20, .tasks_max = 7, .cpu_quota_per_sec_usec = 1500000 },
               "{'linux':{'resources':{'memory':{'limit':1048576},'pids':{'limit':7},'cpu':{'quota':150000,'period':"
               "100000}}}}");
        expect(NULL, &(SpecOptions){ .has_memory_swap_max = TRUE },
               "{'linux':{'resources':{'unified':{'memory.swap.max':'0'}}}}");
        expect(NULL, &(SpecOptions){ .has_memory_swap_max = TRUE, .memory_swap_max = G_MAXUINT64 },
               "{'linux':{'resources':{'unified':{'memory.swap.max':'max'}}}}");
        g_assert_true(spec_apply_options(spec, &(SpecOptions){ .mounts = mounts, .n_mounts = 2 }, &error));
        array = json_object_get_array_member(json_node_get_object(spec), "mounts");
        for (gsize i = 0; i < 2; i++) {
                static const char *const want[] = {
                        "{'destination':'/dst','type':'bind','source':'/src','options':['rbind','ro']}",
                        "{'destination':'/t','type':'tmpfs','options':[]}",
                };
                g_autoptr(JsonNode) node = json(want[i]);

                g_assert_true(json_node_equal(
                        json_array_get_element(array, json_array_get_length(array) - 2 + (guint)i), node));
        }
}

static void test_options_network(void) {
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;

        g_assert_true(spec_apply_options(spec, &(SpecOptions){ .network = "host" }, &error));
        text = spec_to_string(spec);
        g_assert_null(strstr(text, "{\"type\":\"network\"}"));
        g_assert_nonnull(
                strstr(text, "{\"destination\":\"/etc/resolv.conf\",\"type\":\"bind\",\"source\":\"/etc/resolv.conf\","
                             "\"options\":[\"rbind\",\"ro\",\"nofail\"]}"));
        g_assert_nonnull(strstr(text, "\"/etc/hosts\""));
}

static void test_options_bad(void) {
        static const SpecMount relative = { "bind", "/s", "d", NULL }, nameless = { NULL, "/s", "/d", NULL };

        expect_error(NULL, &(SpecOptions){ .network = "bridge" }, PLAN_ERROR_NOT_SUPPORTED, "Network");
        expect_error(NULL, &(SpecOptions){ .working_dir = "w" }, PLAN_ERROR_INVALID, "WorkingDir");
        expect_error(NULL, &(SpecOptions){ .env = STRV("=x") }, PLAN_ERROR_INVALID, "Env");
        expect_error(NULL, &(SpecOptions){ .env = STRV("") }, PLAN_ERROR_INVALID, "Env");
        expect_error(NULL, &(SpecOptions){ .cap_add = STRV("CAP_NOSUCH") }, PLAN_ERROR_INVALID, "CapAdd");
        expect_error(NULL, &(SpecOptions){ .cap_drop = STRV("") }, PLAN_ERROR_INVALID, "CapDrop");
        expect_error(NULL, &(SpecOptions){ .mounts = &relative, .n_mounts = 1 }, PLAN_ERROR_INVALID, "mounts[0]");
        expect_error(NULL, &(SpecOptions){ .mounts = &nameless, .n_mounts = 1 }, PLAN_ERROR_INVALID, "mounts[0]");
}

static guint64 set_bits(JsonNode *spec, const char *name) {
        JsonObject *capabilities = json_object_get_object_member(
                json_object_get_object_member(json_node_get_object(spec), "process"), "capabilities");
        JsonArray *array = json_object_get_array_member(capabilities, name);
        guint64 bits = 0;

        for (guint i = 0; i < json_array_get_length(array); i++)
                bits |= G_GUINT64_CONSTANT(1) << capability_from_name(json_array_get_string_element(array, i));
        return bits;
}

static void test_capabilities(void) {
        static const guint64 usual = 0xa80425fb, admin = 1 << 21, raw = 1 << 13;
        const struct {
                SpecOptions options;
                guint64 want;
        } cases[] = {
                { {}, usual },
                { { .cap_add = STRV("CAP_SYS_ADMIN") }, usual | admin },
                { { .cap_add = STRV("sys_admin") }, usual | admin },
                { { .cap_drop = STRV("NET_RAW") }, usual & ~raw },
                { { .cap_drop = STRV("ALL") }, 0 },
                { { .cap_drop = STRV("all"), .cap_add = STRV("NET_RAW") }, raw },
                { { .cap_add = STRV("ALL"), .cap_drop = STRV("SYS_ADMIN") }, CAPABILITY_ALL & ~admin },
                { { .cap_add = STRV("NET_RAW"), .cap_drop = STRV("NET_RAW") }, usual & ~raw },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(JsonNode) spec = spec_default_new();
                g_autoptr(GError) error = NULL;

                g_assert_true(spec_apply_options(spec, &cases[i].options, &error));
                g_assert_cmphex(set_bits(spec, "bounding"), ==, cases[i].want);
                g_assert_cmphex(set_bits(spec, "effective"), ==, cases[i].want);
                g_assert_cmphex(set_bits(spec, "permitted"), ==, cases[i].want);
                g_assert_cmphex(set_bits(spec, "inheritable"), ==, 0);
                g_assert_cmphex(set_bits(spec, "ambient"), ==, 0);
        }
        for (int i = 0; i <= CAPABILITY_LAST; i++)
                g_assert_cmpint(capability_from_name(capability_to_name(i)), ==, i);
        g_assert_null(capability_to_name(CAPABILITY_LAST + 1));
        g_assert_cmpint(capability_from_name("CAP_"), ==, -1);
}

static void test_exec(void) {
        g_autoptr(JsonNode) spec = patched("{'process':{'terminal':true,'consoleSize':{'width':1,'height':1},'cwd':'/"
                                           "c','user':{'uid':5},'env':['A=1','B=2']}}");
        g_autofree char *before = spec_to_string(spec), *after = NULL;
        g_autoptr(JsonNode) plain = NULL, changed = NULL, want = NULL;
        g_autoptr(GError) error = NULL;
        JsonObject *process;

        g_assert_null(spec_exec_process(spec, &(SpecOptions){}, &error));
        g_assert_error(error, PLAN_ERROR, PLAN_ERROR_INVALID);
        g_clear_error(&error);
        plain = spec_exec_process(spec, &(SpecOptions){ .command = STRV("ls", "-l") }, &error);
        g_assert_no_error(error);
        process = json_node_get_object(plain);
        g_assert_false(json_object_get_boolean_member(process, "terminal"));
        g_assert_false(json_object_has_member(process, "consoleSize"));
        g_assert_cmpstr(json_object_get_string_member(process, "cwd"), ==, "/c");
        want = json("{'a':['ls','-l']}");
        g_assert_true(json_node_equal(json_object_get_member(process, "args"),
                                      json_object_get_member(json_node_get_object(want), "a")));
        changed = spec_exec_process(spec,
                                    &(SpecOptions){ .command = STRV("sh"),
                                                    .env = STRV("B=3", "C=4", "A"),
                                                    .user = "u",
                                                    .working_dir = "/",
                                                    .terminal = TRUE,
                                                    .cap_add = STRV("ALL") },
                                    &error);
        g_assert_no_error(error);
        process = json_node_get_object(changed);
        g_assert_true(json_object_get_boolean_member(process, "terminal"));
        json_node_unref(want);
        want = json("{'e':['B=3','TERM=xterm','C=4'],'u':{'uid':5,'gid':0,'username':'u'}}");
        g_assert_true(json_node_equal(json_object_get_member(process, "env"),
                                      json_object_get_member(json_node_get_object(want), "e")));
        g_assert_true(json_node_equal(json_object_get_member(process, "user"),
                                      json_object_get_member(json_node_get_object(want), "u")));
        after = spec_to_string(spec);
        g_assert_cmpstr(before, ==, after);
}

/* Superset of what containerd and podman mask, as golden lists. */
static void test_masked(void) {
        static const char *const masked[] = { "/proc/acpi",       "/proc/asound",      "/proc/interrupts",
                                              "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                                              "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                                              "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap",
                                              "/sys/dev/block",   "/sys/fs/selinux" };
        static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                "/proc/sysrq-trigger" };
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autofree char *text = spec_to_string(spec);

        for (gsize i = 0; i < G_N_ELEMENTS(masked); i++) {
                g_autofree char *quoted = g_strconcat("\"", masked[i], "\"", NULL);

                g_assert_nonnull(strstr(strstr(text, "maskedPaths"), quoted));
        }
        for (gsize i = 0; i < G_N_ELEMENTS(readonly); i++)
                g_assert_nonnull(strstr(strstr(text, "readonlyPaths"), readonly[i]));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/spec/image", test_image);
        g_test_add_func("/spec/image/command", test_image_command);
        g_test_add_func("/spec/whole/command", test_whole_command);
        g_test_add_func("/spec/image/bad", test_image_bad);
        g_test_add_func("/spec/options", test_options);
        g_test_add_func("/spec/options/network", test_options_network);
        g_test_add_func("/spec/options/bad", test_options_bad);
        g_test_add_func("/spec/capabilities", test_capabilities);
        g_test_add_func("/spec/exec", test_exec);
        g_test_add_func("/spec/masked", test_masked);
        return g_test_run();
}
