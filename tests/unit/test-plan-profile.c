/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.seccomp of config.json: actions, errors, flags, architectures, arguments; what is refused;
 * the annotation that names the built-in profile; the cache in memory and on disk.
 */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan/seccomp.h"
#include "shared/macros.h"
#include "tests/unit/plan-bpf.h"
#include "tests/unit/plan-test.h"

#define ERRNO(n) (SECCOMP_RET_ERRNO | (n))

static guint32 call(const Built *b, guint32 arch, guint32 number, guint64 first) {
        Program program = { plan_array(b->plan, b->plan->seccomp.program), b->plan->seccomp.program.n };
        guint64 args[6] = { first };

        return program_call(program, arch, number, args);
}

static Built build_profile(const char *profile) {
        g_autofree char *patch = g_strdup_printf("{'linux':{'seccomp':%s}}", profile);

        return build_patch(patch);
}

static void test_actions(void) {
        static const struct {
                const char *name;
                guint32 action;
        } actions[] = {
                { "SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD },
                { "SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD },
                { "SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS },
                { "SCMP_ACT_TRAP", SECCOMP_RET_TRAP },
                { "SCMP_ACT_ERRNO", ERRNO(1) },
                { "SCMP_ACT_TRACE", SECCOMP_RET_TRACE | 1 },
                { "SCMP_ACT_LOG", SECCOMP_RET_LOG },
                { "SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(actions); i++) {
                g_autofree char *one = g_strdup_printf(
                        "{'defaultAction':'%s','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO','errnoRet':7}]}",
                        actions[i].name);
                g_autofree char *two = g_strdup_printf("{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':38,'"
                                                       "syscalls':[{'names':['read'],'action':'%s'}]}",
                                                       actions[i].name);
                g_auto(Built) a = build_profile(one), b = build_profile(two);

                g_assert_cmphex(call(&a, AUDIT_ARCH_X86_64, 1, 0), ==, actions[i].action);
                g_assert_cmphex(call(&a, AUDIT_ARCH_X86_64, 0, 0), ==, ERRNO(7));
                g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 0, 0), ==, actions[i].action);
                g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 1, 0), ==, ERRNO(38));
        }
}

static void test_architectures(void) {
        g_auto(Built) own = build_profile("{'defaultAction':'SCMP_ACT_ALLOW','architectures':['SCMP_ARCH_AARCH64']}");
        g_auto(Built) all =
                build_profile("{'defaultAction':'SCMP_ACT_ALLOW','architectures':['SCMP_ARCH_X86','SCMP_ARCH_X32','"
                              "SCMP_ARCH_X86_64'],"
                              "'syscalls':[{'names':['uname','fchmodat2','nosuchcall'],'action':'SCMP_ACT_ERRNO'}]}");

        g_assert_cmphex(call(&own, AUDIT_ARCH_X86_64, 0, 0), ==, SECCOMP_RET_ALLOW);
        g_assert_cmphex(call(&own, AUDIT_ARCH_I386, 0, 0), ==, SECCOMP_RET_KILL_THREAD);
        g_assert_cmphex(call(&own, AUDIT_ARCH_X86_64, X32_BIT, 0), ==, SECCOMP_RET_KILL_THREAD);
        g_assert_cmphex(call(&all, AUDIT_ARCH_X86_64, 63, 0), ==, ERRNO(1));
        g_assert_cmphex(call(&all, AUDIT_ARCH_X86_64, 63 | X32_BIT, 0), ==, ERRNO(1));
        g_assert_cmphex(call(&all, AUDIT_ARCH_I386, 122, 0), ==, ERRNO(1));
        g_assert_cmphex(call(&all, AUDIT_ARCH_I386, 63, 0), ==, SECCOMP_RET_ALLOW);
        g_assert_cmphex(call(&all, AUDIT_ARCH_X86_64, 452, 0), ==, ERRNO(1)); /* newer than libseccomp */
        g_assert_cmphex(call(&all, AUDIT_ARCH_I386, 452, 0), ==, ERRNO(1));
        g_assert_cmphex(call(&all, AUDIT_ARCH_X86_64, 452 | X32_BIT, 0), ==, ERRNO(1));
}

static void test_arguments(void) {
        g_auto(Built) b = build_profile(
                "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':["
                "{'names':['kill'],'action':'SCMP_ACT_ERRNO','args':[{'index':0,'value':18446744073709551615,'op':'"
                "SCMP_CMP_EQ'}]},"
                "{'names':['read'],'action':'SCMP_ACT_ERRNO','args':[{'index':0,'value':5,'op':'SCMP_CMP_EQ'},"
                "{'index':1,'value':0,'op':'SCMP_CMP_EQ'}]},"
                "{'names':['write'],'action':'SCMP_ACT_ERRNO','args':[{'index':0,'value':5,'op':'SCMP_CMP_EQ'},"
                "{'index':0,'value':7,'op':'SCMP_CMP_EQ'}]},"
                "{'names':['close'],'action':'SCMP_ACT_ERRNO','args':[{'index':0,'value':12,'valueTwo':4,'op':'SCMP_"
                "CMP_MASKED_EQ'}]}]}");

        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 62, G_MAXUINT64), ==, ERRNO(1));
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 62, G_MAXUINT32), ==, SECCOMP_RET_ALLOW);
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 0, 5), ==, ERRNO(1)); /* both hold */
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 1, 5), ==, ERRNO(1)); /* either holds */
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 1, 7), ==, ERRNO(1));
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 1, 6), ==, SECCOMP_RET_ALLOW);
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 3, 0xf4), ==, ERRNO(1));
        g_assert_cmphex(call(&b, AUDIT_ARCH_X86_64, 3, 0xfc), ==, SECCOMP_RET_ALLOW);
}

static void test_flags(void) {
        g_auto(Built) b = build_profile("{'defaultAction':'SCMP_ACT_ALLOW','flags':['SECCOMP_FILTER_FLAG_LOG','SECCOMP_"
                                        "FILTER_FLAG_SPEC_ALLOW']}");
        g_auto(Built) again = build_profile("{'defaultAction':'SCMP_ACT_ALLOW','flags':['SECCOMP_FILTER_FLAG_LOG','"
                                            "SECCOMP_FILTER_FLAG_SPEC_ALLOW']}");

        g_assert_cmphex(b.plan->seccomp.flags, ==, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
        g_assert_cmphex(again.plan->seccomp.flags, ==, b.plan->seccomp.flags); /* out of the cache too */
}

static void test_annotation(void) {
        g_auto(Built) named = build_patch("{}"), none = build_patch("{'annotations':{'org.davit.seccomp':null}}");
        g_auto(Built) unconfined = build_patch("{'annotations':{'org.davit.seccomp':'unconfined'}}");
        g_auto(Built) both = build_profile("{'defaultAction':'SCMP_ACT_ALLOW'}");

        g_assert_cmpuint(named.plan->seccomp.program.n, >, 100);
        g_assert_cmpuint(named.plan->supervisor_seccomp.program.n, >, 20);
        g_assert_cmpuint(none.plan->seccomp.program.n, ==, 0);
        g_assert_cmpuint(none.plan->supervisor_seccomp.program.n, ==, 0);
        g_assert_cmpuint(unconfined.plan->seccomp.program.n, ==, 0);
        g_assert_cmphex(call(&both, AUDIT_ARCH_X86_64, 321, 0), ==, SECCOMP_RET_ALLOW); /* what is spelled out holds */
}

static const struct {
        PlanError code;
        const char *profile, *message;
} bad[] = {
        { PLAN_ERROR_INVALID, "{}", "linux.seccomp.defaultAction" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'ALLOW'}", "linux.seccomp.defaultAction" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ALLOW','defaultErrnoRet':1}",
          "linux.seccomp.defaultErrnoRet" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':4096}",
          "linux.seccomp.defaultErrnoRet" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ALLOW','architectures':['SCMP_ARCH_VAX']}",
          "linux.seccomp.architectures[0]" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ALLOW','architectures':['X86']}",
          "linux.seccomp.architectures[0]" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'action':'SCMP_ACT_ERRNO'}]}",
          "linux.seccomp.syscalls[0].names" },
        { PLAN_ERROR_INVALID, "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read']}]}",
          "linux.seccomp.syscalls[0].action" },
        { PLAN_ERROR_INVALID,
          "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_KILL','errnoRet':1}]}",
          "linux.seccomp.syscalls[0].errnoRet" },
        { PLAN_ERROR_INVALID,
          "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO','args':[{}]}]}",
          "linux.seccomp.syscalls[0].args[0].index" },
        { PLAN_ERROR_INVALID,
          "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO','args':[{'index':"
          "6,'value':0,'op':'SCMP_CMP_EQ'}]}]}",
          "linux.seccomp.syscalls[0].args[0].index" },
        { PLAN_ERROR_INVALID,
          "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO','args':[{'index':"
          "0,'value':0,'op':'EQ'}]}]}",
          "linux.seccomp.syscalls[0].args[0].op" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'defaultAction':'SCMP_ACT_NOTIFY'}", "linux.seccomp.defaultAction" },
        { PLAN_ERROR_NOT_SUPPORTED,
          "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_NOTIFY'}]}",
          "linux.seccomp.syscalls[0].action" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'defaultAction':'SCMP_ACT_ALLOW','listenerPath':'/x'}",
          "linux.seccomp.listenerPath" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'defaultAction':'SCMP_ACT_ALLOW','listenerMetadata':'x'}",
          "linux.seccomp.listenerMetadata" },
        { PLAN_ERROR_NOT_SUPPORTED,
          "{'defaultAction':'SCMP_ACT_ALLOW','flags':['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']}",
          "linux.seccomp.flags[0]" },
};

static void test_refused(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *patch = g_strdup_printf("{'linux':{'seccomp':%s}}", bad[i].profile);

                refuse_patch(patch, bad[i].code, bad[i].message);
        }
}

/* More conditions than a program has room for is an error, not a broken program. */
static void test_too_large(void) {
        g_autoptr(GString) profile = g_string_new("{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[");

        for (int i = 0; i < 1200; i++)
                g_string_append_printf(profile,
                                       "%s{'names':['read'],'action':'SCMP_ACT_ERRNO','args':[{'index':0,'value':%d,'"
                                       "op':'SCMP_CMP_EQ'}]}",
                                       i ? "," : "", i);
        g_string_append(profile, "]}");
        {
                g_autofree char *patch = g_strdup_printf("{'linux':{'seccomp':%s}}", profile->str);

                refuse_patch(patch, PLAN_ERROR_INVALID, "linux.seccomp");
        }
}

static int count_and_remove(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;
        int n = 0;

        while ((name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                g_assert_cmpint(unlink(file), ==, 0);
                n++;
        }
        return n;
}

static void test_cache(void) {
        g_autofree char *dir = g_dir_make_tmp("plan-cache-XXXXXX", NULL), *file = NULL;
        g_autoptr(GBytes) one = g_bytes_new("\1\2\3\4\5\6\7\10", 8), two = g_bytes_new("\1\1\1\1\1\1\1\1", 8);
        g_autoptr(GBytes) got = NULL, back = NULL;
        struct stat st;
        int fd;

        g_assert_nonnull(dir);
        g_assert_null(seccomp_cache_get("key-a", dir));
        seccomp_cache_put("key-a", dir, one);
        got = seccomp_cache_get("key-a", NULL);
        g_assert_true(g_bytes_equal(got, one));
        for (int i = 0; i < 100; i++) { /* push it out of memory */
                g_autofree char *key = g_strdup_printf("fill-%d", i);

                seccomp_cache_put(key, NULL, two);
        }
        g_assert_null(seccomp_cache_get("key-a", NULL));
        back = seccomp_cache_get("key-a", dir);
        g_assert_true(g_bytes_equal(back, one));
        file = g_build_filename(dir, "key-a", NULL);
        g_assert_cmpint(stat(file, &st), ==, 0);
        g_assert_cmphex(st.st_mode & 07777, ==, 0600);
        for (int i = 0; i < 100; i++) {
                g_autofree char *key = g_strdup_printf("fill-%d", i);

                seccomp_cache_put(key, NULL, two);
        }
        fd = open(file, O_WRONLY | O_CLOEXEC);
        g_assert_cmpint(pwrite(fd, "\377", 1, 33), ==, 1);
        g_assert_null(seccomp_cache_get("key-a", dir)); /* one byte is wrong */
        g_assert_cmpint(ftruncate(fd, 35), ==, 0);
        g_assert_null(seccomp_cache_get("key-a", dir));
        close(fd);
        for (int i = 0; i < 300; i++) { /* the directory does not grow without bound */
                g_autofree char *key = g_strdup_printf("many-%d", i);

                seccomp_cache_put(key, dir, two);
        }
        g_assert_cmpint(count_and_remove(dir), <=, 256);
        g_assert_cmpint(rmdir(dir), ==, 0);
        seccomp_cache_put("key-b", "/nonexistent/plan-cache", one); /* no place is no error */
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/profile/actions", test_actions);
        g_test_add_func("/profile/architectures", test_architectures);
        g_test_add_func("/profile/arguments", test_arguments);
        g_test_add_func("/profile/flags", test_flags);
        g_test_add_func("/profile/annotation", test_annotation);
        g_test_add_func("/profile/refused", test_refused);
        g_test_add_func("/profile/too-large", test_too_large);
        g_test_add_func("/profile/cache", test_cache);
        return g_test_run();
}
