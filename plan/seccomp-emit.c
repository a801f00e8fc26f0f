/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The instructions of a seccomp program: a balanced search tree over ranges, arguments in its leaves.
 *
 * A jump of classic BPF goes forward, at most 255 instructions when it is conditional. So code is
 * emitted from the end: what a jump leads to is there already, one return serves all leaves that
 * reach it, and where a target is too far a return or an unconditional jump is put nearby. Every
 * path ends in a return. It never decides what a rule means (seccomp-compile.c).
 */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "plan/seccomp-emit.h"

#define REACH (G_MAXUINT8 - 2U) /* of a jump that two helpers may still be put before */

static void emit(GArray *out, guint16 code, guint8 jt, guint8 jf, guint32 k) {
        struct sock_filter insn = { .code = code, .jt = jt, .jf = jf, .k = k };

        g_array_append_val(out, insn);
}

static void emit_return(GArray *out, guint32 action) {
        emit(out, BPF_RET | BPF_K, 0, 0, action);
}

static void emit_load(GArray *out, gsize offset) {
        emit(out, BPF_LD | BPF_W | BPF_ABS, 0, 0, (guint32)offset);
}

static void emit_load_half(GArray *out, guint32 index, gboolean high) {
        emit_load(out, offsetof(struct seccomp_data, args) + 8 * index + (high ? 4 : 0)); /* little endian */
}

enum { NEXT = 0, MATCH = 254, FAIL = 255 }; /* jump targets until a rule's length is known */

static void emit_compare(GArray *out, SeccompCompare op, guint32 value, guint32 mask) {
        switch (op) {
        case SECCOMP_CMP_MASKED_EQ:
                emit(out, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, MATCH, FAIL, value);
                break;
        case SECCOMP_CMP_EQ:
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, MATCH, FAIL, value);
                break;
        case SECCOMP_CMP_NE:
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, FAIL, MATCH, value);
                break;
        case SECCOMP_CMP_GT:
                emit(out, BPF_JMP | BPF_JGT | BPF_K, MATCH, FAIL, value);
                break;
        case SECCOMP_CMP_GE:
                emit(out, BPF_JMP | BPF_JGE | BPF_K, MATCH, FAIL, value);
                break;
        case SECCOMP_CMP_LT:
                emit(out, BPF_JMP | BPF_JGE | BPF_K, FAIL, MATCH, value);
                break;
        case SECCOMP_CMP_LE:
                emit(out, BPF_JMP | BPF_JGT | BPF_K, FAIL, MATCH, value);
                break;
        }
}

/* The upper half decides alone unless it is equal; then the lower half, compared as asked. */
static void emit_high(GArray *out, const SeccompCondition *c) {
        guint32 value = (guint32)(c->value >> 32);

        switch (c->op) {
        case SECCOMP_CMP_MASKED_EQ:
                emit(out, BPF_ALU | BPF_AND | BPF_K, 0, 0, value);
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, NEXT, FAIL, (guint32)((c->value_two & c->value) >> 32));
                break;
        case SECCOMP_CMP_EQ:
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, NEXT, FAIL, value);
                break;
        case SECCOMP_CMP_NE:
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, NEXT, MATCH, value);
                break;
        case SECCOMP_CMP_GT:
        case SECCOMP_CMP_GE:
                emit(out, BPF_JMP | BPF_JGT | BPF_K, MATCH, NEXT, value);
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, NEXT, FAIL, value);
                break;
        case SECCOMP_CMP_LT:
        case SECCOMP_CMP_LE:
                emit(out, BPF_JMP | BPF_JGT | BPF_K, FAIL, NEXT, value);
                emit(out, BPF_JMP | BPF_JEQ | BPF_K, NEXT, MATCH, value);
                break;
        }
}

static guint8 resolve_jump(guint8 to, gsize at, gsize match, gsize fail) {
        if (to == MATCH)
                return (guint8)(match - at - 1);
        return to == FAIL ? (guint8)(fail - at - 1) : to;
}

static void emit_rule(GArray *out, const SeccompRule *rule, gboolean wide) {
        gsize starts[SECCOMP_CONDITIONS_MAX + 1];

        for (guint i = 0; i < rule->n; i++) {
                const SeccompCondition *c = &rule->conditions[i];
                gboolean masked = c->op == SECCOMP_CMP_MASKED_EQ;

                starts[i] = out->len;
                if (wide) {
                        emit_load_half(out, c->index, TRUE);
                        emit_high(out, c);
                }
                emit_load_half(out, c->index, FALSE);
                emit_compare(out, c->op, (guint32)(masked ? c->value_two & c->value : c->value), (guint32)c->value);
        }
        starts[rule->n] = out->len;
        for (guint i = 0; i < rule->n; i++)
                for (gsize at = starts[i]; at < starts[i + 1]; at++) {
                        struct sock_filter *insn = &g_array_index(out, struct sock_filter, at);

                        if (BPF_CLASS(insn->code) != BPF_JMP)
                                continue;
                        insn->jt = resolve_jump(insn->jt, at, starts[i + 1], starts[rule->n] + 1);
                        insn->jf = resolve_jump(insn->jf, at, starts[i + 1], starts[rule->n] + 1);
                }
        emit_return(out, rule->action);
}

/* i386 and x32 have 32-bit arguments. */
static void emit_rules(GArray *out, const SeccompRange *range, SeccompArch arch) {
        gboolean wide = arch == SECCOMP_ARCH_X86_64 && range->start < X32_BIT;

        for (guint i = 0; i < range->call->rules->len; i++)
                emit_rule(out, &g_array_index(range->call->rules, SeccompRule, i), wide);
        emit_return(out, range->action);
}

/** seccomp_emitter_init() - An empty program. */
void seccomp_emitter_init(SeccompEmitter *emitter) {
        emitter->reversed = g_array_sized_new(FALSE, FALSE, sizeof(struct sock_filter), 1024);
        emitter->returns = g_hash_table_new(g_direct_hash, g_direct_equal);
}

/** seccomp_emitter_clear() - Frees it. */
void seccomp_emitter_clear(SeccompEmitter *emitter) {
        g_clear_pointer(&emitter->reversed, g_array_unref);
        g_clear_pointer(&emitter->returns, g_hash_table_unref);
}

/** seccomp_emitter_finish() - The program in its own order. */
GBytes *seccomp_emitter_finish(SeccompEmitter *emitter) {
        guint n = emitter->reversed->len;
        struct sock_filter *program = g_new(struct sock_filter, n);

        for (guint i = 0; i < n; i++)
                program[i] = g_array_index(emitter->reversed, struct sock_filter, n - 1 - i);
        return g_bytes_new_take(program, n * sizeof(*program));
}

static guint distance(const SeccompEmitter *emitter, guint at) {
        return emitter->reversed->len - at - 1;
}

/* A position that a conditional jump emitted next, or after one more helper, reaches. */
static guint reach(SeccompEmitter *emitter, SeccompEntry entry) {
        guint known = GPOINTER_TO_UINT(g_hash_table_lookup(emitter->returns, GUINT_TO_POINTER(entry.action)));

        if (entry.is_action) {
                if (known == 0 || distance(emitter, known - 1) > REACH) {
                        emit_return(emitter->reversed, entry.action);
                        known = emitter->reversed->len;
                        g_hash_table_insert(emitter->returns, GUINT_TO_POINTER(entry.action), GUINT_TO_POINTER(known));
                }
                return known - 1;
        }
        if (distance(emitter, entry.at) <= REACH)
                return entry.at;
        emit(emitter->reversed, BPF_JMP | BPF_JA, 0, 0, distance(emitter, entry.at));
        return emitter->reversed->len - 1;
}

static SeccompEntry emit_branch(SeccompEmitter *emitter, guint16 code, guint32 k, SeccompEntry yes, SeccompEntry no) {
        guint yes_at = reach(emitter, yes), no_at = reach(emitter, no);

        emit(emitter->reversed, code, (guint8)distance(emitter, yes_at), (guint8)distance(emitter, no_at), k);
        return (SeccompEntry){ .at = emitter->reversed->len - 1 };
}

static SeccompEntry emit_leaf(SeccompEmitter *emitter, const SeccompRange *range, SeccompArch arch) {
        g_autoptr(GArray) code = NULL;

        if (!range->call)
                return (SeccompEntry){ .is_action = TRUE, .action = range->action };
        code = g_array_new(FALSE, FALSE, sizeof(struct sock_filter));
        emit_rules(code, range, arch);
        for (guint i = code->len; i-- > 0;)
                g_array_append_vals(emitter->reversed, &g_array_index(code, struct sock_filter, i), 1);
        return (SeccompEntry){ .at = emitter->reversed->len - 1 };
}

/** seccomp_emit_ranges() - The tree for ranges in ascending order, with the number in the accumulator. */
SeccompEntry seccomp_emit_ranges(SeccompEmitter *emitter, const SeccompRange *ranges, guint n, SeccompArch arch) {
        SeccompEntry low, high;

        if (n == 1)
                return emit_leaf(emitter, ranges, arch);
        high = seccomp_emit_ranges(emitter, ranges + n / 2, n - n / 2, arch);
        low = seccomp_emit_ranges(emitter, ranges, n / 2, arch);
        return emit_branch(emitter, BPF_JMP | BPF_JGE | BPF_K, ranges[n / 2].start, high, low);
}

/** seccomp_emit_arch() - "If the architecture is this, the number decides by @code; else @other", which tests the next
 * one. */
SeccompEntry seccomp_emit_arch(SeccompEmitter *emitter, guint32 audit_arch, SeccompEntry code, SeccompEntry other) {
        SeccompEntry number;

        if (code.is_action)
                code.at = reach(emitter, code);
        if (distance(emitter, code.at) > 0)
                emit(emitter->reversed, BPF_JMP | BPF_JA, 0, 0, distance(emitter, code.at));
        emit_load(emitter->reversed, offsetof(struct seccomp_data, nr));
        number = (SeccompEntry){ .at = emitter->reversed->len - 1 };
        (void)emit_branch(emitter, BPF_JMP | BPF_JEQ | BPF_K, audit_arch, number, other);
        emit_load(emitter->reversed, offsetof(struct seccomp_data, arch));
        return (SeccompEntry){ .at = emitter->reversed->len - 1 };
}
