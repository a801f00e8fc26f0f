/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A classic BPF interpreter for seccomp programs, and the audit architectures by SeccompArch. */

#include <glib.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

#define X32_BIT 0x40000000U

typedef struct Program {
        const struct sock_filter *insns;
        gsize n;
} Program;

static inline Program program_of(GBytes *bytes) {
        gsize size;
        gconstpointer data = g_bytes_get_data(bytes, &size);

        return (Program){ data, size / sizeof(struct sock_filter) };
}

/* Every access is checked as the kernel's verifier would; a program that runs off its end aborts the test. */
static inline guint32 program_run(Program program, const struct seccomp_data *data, guint *steps) {
        guint32 a = 0, value;

        for (gsize pc = 0; pc < program.n; pc++) {
                const struct sock_filter *i = &program.insns[pc];

                if (steps)
                        (*steps)++;
                switch (i->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        g_assert_cmpuint(i->k % 4, ==, 0);
                        g_assert_cmpuint(i->k, <, sizeof(*data));
                        memcpy(&a, (const char *)data + i->k, sizeof(a));
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= i->k;
                        break;
                case BPF_JMP | BPF_JA:
                        pc += i->k;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        pc += a == i->k ? i->jt : i->jf;
                        break;
                case BPF_JMP | BPF_JGT | BPF_K:
                        pc += a > i->k ? i->jt : i->jf;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        pc += a >= i->k ? i->jt : i->jf;
                        break;
                case BPF_RET | BPF_K:
                        value = i->k;
                        return value;
                default:
                        g_error("instruction %zu: code 0x%x", pc, i->code);
                }
        }
        g_error("the program runs off its end");
}

static inline guint32 program_call(Program program, guint32 arch, guint32 number, const guint64 args[6]) {
        struct seccomp_data data = { .nr = (int)number, .arch = arch };

        if (args)
                memcpy(data.args, args, sizeof(data.args));
        return program_run(program, &data, NULL);
}
