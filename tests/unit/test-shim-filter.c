/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The shim's reading of a filter: for every call of every architecture the decision that the kernel would take, by
 * another reader of the same program; and that names of calls are found by their numbers again.
 */

#include <errno.h>
#include <linux/audit.h>
#include <stdlib.h>

#include "plan-bpf.h"
#include "plan/seccomp.h"
#include "shim/violation.h"

static const guint32 audit[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, 0xc00000b7 };

static void test_run(void) {
        static const guint64 samples[] = { 0, 1, 38, 40, 0x7e020000, G_MAXUINT32, G_MAXUINT64 };
        g_auto(SeccompProfile) profile = {};
        g_autoptr(GBytes) bytes = NULL;
        Program program;

        seccomp_profile_default(&profile, 0xa80425fb);
        bytes = seccomp_compile(&profile, NULL);
        program = program_of(bytes);
        for (gsize arch = 0; arch < G_N_ELEMENTS(audit); arch++)
                for (guint32 n = 0; n < 600; n++)
                        for (gsize i = 0; i < G_N_ELEMENTS(samples); i++) {
                                struct seccomp_data data = { .nr = (int)(arch == 2 ? n | 0x40000000 : n),
                                                             .arch = audit[arch],
                                                             .args = { samples[i], samples[i], samples[i] } };

                                g_assert_cmphex(filter_run(program.insns, program.n, &data), ==,
                                                program_run(program, &data, NULL));
                        }
}

static void test_damaged(void) {
        struct seccomp_data data = { .nr = 1 };
        struct sock_filter far[] = { BPF_JUMP(BPF_JMP | BPF_JA, 1000, 0, 0) };
        struct sock_filter outside[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4096), BPF_STMT(BPF_RET | BPF_K, 1) };
        struct sock_filter other[] = { BPF_STMT(BPF_LDX | BPF_IMM, 1), BPF_STMT(BPF_RET | BPF_K, 1) };
        guint32 refused = SECCOMP_RET_ERRNO | EPERM;

        g_assert_cmphex(filter_run(far, 1, &data), ==, refused);
        g_assert_cmphex(filter_run(outside, 2, &data), ==, refused);
        g_assert_cmphex(filter_run(other, 2, &data), ==, refused);
        g_assert_cmphex(filter_run(NULL, 0, &data), ==, refused);
}

static void test_tells(void) {
        g_assert_true(filter_tells(SECCOMP_RET_ERRNO | EPERM));
        g_assert_true(filter_tells(SECCOMP_RET_ERRNO));
        g_assert_false(filter_tells(SECCOMP_RET_ERRNO | ENOSYS));
        g_assert_false(filter_tells(SECCOMP_RET_ALLOW));
        g_assert_false(filter_tells(SECCOMP_RET_KILL_PROCESS));
}

static void check_name(guint32 arch, int number, const char *arch_name, const char *name) {
        g_autofree char *found = seccomp_call_name(arch, number);

        g_assert_cmpstr(found, ==, name);
        g_assert_cmpstr(seccomp_arch_name(arch, number), ==, arch_name);
}

static void test_names(void) {
        check_name(AUDIT_ARCH_X86_64, 165, "x86_64", "mount");
        check_name(AUDIT_ARCH_I386, 21, "x86", "mount");
        check_name(AUDIT_ARCH_I386, 165, "x86", "getresuid");
        check_name(AUDIT_ARCH_X86_64, 165 | 0x40000000, "x32", "mount");
        check_name(AUDIT_ARCH_I386, 359, "x86", "socket");
        check_name(AUDIT_ARCH_I386, 102, "x86", "socketcall");
        check_name(AUDIT_ARCH_X86_64, 457, "x86_64", "statmount");
        check_name(AUDIT_ARCH_X86_64, 457 | 0x40000000, "x32", "statmount");
        check_name(AUDIT_ARCH_X86_64, 335, "x86_64", "uretprobe");
        check_name(AUDIT_ARCH_X86_64, 9999, "x86_64", NULL);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/filter/run", test_run);
        g_test_add_func("/filter/damaged", test_damaged);
        g_test_add_func("/filter/tells", test_tells);
        g_test_add_func("/filter/names", test_names);
        return g_test_run();
}
