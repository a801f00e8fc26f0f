/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From rules to BPF: a search tree over ranges of system call numbers for each architecture.
 *
 * Neighbouring numbers with the same outcome are one range, so the several hundred names of a usual
 * profile become about a hundred ranges and a call is decided in seven or eight comparisons; loading
 * such a program costs the kernel a tenth of what one comparison a name costs. Arguments are looked
 * at in leaves. What rules mean when they meet is libseccomp's way, which profiles are written for:
 * a rule without conditions outweighs all others for the same call, the first of several; rules
 * whose action is the default one are left out; a number of another architecture kills.
 */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "plan/build.h"
#include "plan/fields.h"
#include "plan/seccomp.h"

#define X32_BIT 0x40000000U
#define BAD_ARCH SECCOMP_RET_KILL_THREAD /* libseccomp's default */

/* What is known of one number. */
typedef struct Call {
        guint32 number;
        gboolean always;
        guint32 action; /* always */
        GArray *rules;  /* SeccompRule with conditions, else */
} Call;

/* From "start" to the next range's start. */
typedef struct Range {
        guint32 start;
        guint32 action;
        const Call *call; /* its rules decide first */
} Range;

static void call_free(gpointer data) {
        Call *call = data;

        g_clear_pointer(&call->rules, g_array_unref);
        g_free(call);
}

/** seccomp_profile_init() - An empty profile for x86-64 alone. */
void seccomp_profile_init(SeccompProfile *profile, guint32 default_action) {
        *profile = (SeccompProfile){
                .default_action = default_action,
                .arches = 1U << SECCOMP_ARCH_X86_64,
                .rules = g_array_sized_new(FALSE, TRUE, sizeof(SeccompRule), 512),
        };
}

/** seccomp_profile_clear() - Frees the rules. */
void seccomp_profile_clear(SeccompProfile *profile) {
        g_clear_pointer(&profile->rules, g_array_unref);
}

/** seccomp_profile_add() - Adds a rule; its name stays borrowed. */
void seccomp_profile_add(SeccompProfile *profile, const SeccompRule *rule) {
        g_array_append_vals(profile->rules, rule, 1);
}

static void add_to_call(GHashTable *calls, guint32 number, const SeccompRule *rule) {
        Call *call = g_hash_table_lookup(calls, GUINT_TO_POINTER(number));

        if (!call) {
                call = g_new0(Call, 1);
                call->number = number;
                call->rules = g_array_new(FALSE, TRUE, sizeof(SeccompRule));
                g_hash_table_insert(calls, GUINT_TO_POINTER(number), call);
        }
        if (call->always)
                return;
        if (rule->n == 0) {
                call->always = TRUE;
                call->action = rule->action;
        } else
                g_array_append_vals(call->rules, rule, 1);
}

/* Behind a multiplexer arguments are in memory, out of reach: only which call it is can be a condition. */
static void add_rule(GHashTable *calls, SeccompArch arch, const SeccompRule *rule) {
        SeccompNumber number;

        if (!seccomp_number(arch, rule->name, &number))
                return;
        if (number.direct != SECCOMP_NUMBER_NONE)
                add_to_call(calls, (guint32)number.direct, rule);
        if (number.multiplexer != SECCOMP_NUMBER_NONE) {
                SeccompRule inner = {
                        .name = rule->name,
                        .action = rule->action,
                        .n = 1,
                        .conditions = { { .op = SECCOMP_CMP_EQ, .value = number.call } },
                };

                add_to_call(calls, (guint32)number.multiplexer, &inner);
        }
}

static int compare_calls(gconstpointer a, gconstpointer b) {
        const Call *x = *(const Call *const *)a, *y = *(const Call *const *)b;

        return x->number < y->number ? -1 : x->number > y->number;
}

static void append_range(GArray *ranges, guint32 start, guint32 action, const Call *call) {
        Range range = { .start = start, .action = action, .call = call };
        Range *last = ranges->len ? &g_array_index(ranges, Range, ranges->len - 1) : NULL;

        if (last && last->start == start)
                *last = range;
        else if (!last || call || last->call || last->action != action)
                g_array_append_val(ranges, range);
}

static GArray *make_ranges(GHashTable *calls, guint32 default_action, gboolean refuse_x32) {
        GArray *ranges = g_array_new(FALSE, TRUE, sizeof(Range));
        g_autoptr(GPtrArray) sorted = g_ptr_array_new();
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, calls);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(sorted, value);
        g_ptr_array_sort(sorted, compare_calls);
        append_range(ranges, 0, default_action, NULL);
        for (guint i = 0; i < sorted->len; i++) {
                const Call *call = sorted->pdata[i];

                append_range(ranges, call->number, call->always ? call->action : default_action,
                             call->always ? NULL : call);
                append_range(ranges, call->number + 1, default_action, NULL);
        }
        if (refuse_x32) {
                append_range(ranges, X32_BIT, BAD_ARCH, NULL);
                append_range(ranges, G_MAXUINT32, default_action, NULL); /* -1: a call a tracer has cancelled */
        }
        /* Two neighbours of one outcome may stand side by side where a default range of no length was replaced. */
        for (guint i = ranges->len; i-- > 1;) {
                const Range *a = &g_array_index(ranges, Range, i - 1), *b = &g_array_index(ranges, Range, i);

                if (!a->call && !b->call && a->action == b->action)
                        g_array_remove_index(ranges, i);
        }
        return ranges;
}

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
static void emit_range(GArray *out, const Range *range, SeccompArch arch) {
        gboolean wide = arch == SECCOMP_ARCH_X86_64 && range->start < X32_BIT;

        for (guint i = 0; range->call && i < range->call->rules->len; i++)
                emit_rule(out, &g_array_index(range->call->rules, SeccompRule, i), wide);
        emit_return(out, range->action);
}

/* All code ends in a return, so a subtree can be moved as it is. */
static void emit_tree(GArray *out, const Range *ranges, guint n, SeccompArch arch) {
        g_autoptr(GArray) left = NULL;
        guint middle = n / 2;

        if (n == 1) {
                emit_range(out, ranges, arch);
                return;
        }
        left = g_array_new(FALSE, FALSE, sizeof(struct sock_filter));
        emit_tree(left, ranges, middle, arch);
        if (left->len <= G_MAXUINT8)
                emit(out, BPF_JMP | BPF_JGE | BPF_K, (guint8)left->len, 0, ranges[middle].start);
        else {
                emit(out, BPF_JMP | BPF_JGE | BPF_K, 0, 1, ranges[middle].start);
                emit(out, BPF_JMP | BPF_JA, 0, 0, left->len);
        }
        g_array_append_vals(out, left->data, left->len);
        emit_tree(out, ranges + middle, n - middle, arch);
}

static gboolean wanted(const SeccompProfile *profile, SeccompArch arch) {
        return (profile->arches & 1U << arch) != 0;
}

/* The part of one value of seccomp_data.arch, skipped when it is another; x32 comes as x86-64. */
static void emit_arch(GArray *out, const SeccompProfile *profile, SeccompArch arch, guint32 audit_arch) {
        g_autoptr(GHashTable) calls = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, call_free);
        g_autoptr(GArray) code = g_array_new(FALSE, FALSE, sizeof(struct sock_filter)), ranges = NULL;
        gboolean with_x32 = arch == SECCOMP_ARCH_X86_64 && wanted(profile, SECCOMP_ARCH_X32);

        for (guint i = 0; i < profile->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);

                if (rule->action == profile->default_action)
                        continue;
                add_rule(calls, arch, rule);
                if (with_x32)
                        add_rule(calls, SECCOMP_ARCH_X32, rule);
        }
        ranges = make_ranges(calls, profile->default_action, arch == SECCOMP_ARCH_X86_64 && !with_x32);
        emit_load(code, offsetof(struct seccomp_data, nr));
        emit_tree(code, &g_array_index(ranges, Range, 0), ranges->len, arch);
        emit(out, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, audit_arch);
        emit(out, BPF_JMP | BPF_JA, 0, 0, code->len);
        g_array_append_vals(out, code->data, code->len);
}

/**
 * seccomp_compile() - Compiles a profile.
 *
 * Returns an array of struct sock_filter, or NULL with PLAN_ERROR_INVALID when it would be longer
 * than the kernel takes (4,096 instructions).
 */
GBytes *seccomp_compile(const SeccompProfile *profile, GError **error) {
        g_autoptr(GArray) out = g_array_sized_new(FALSE, FALSE, sizeof(struct sock_filter), 1024);
        gsize n;

        emit_load(out, offsetof(struct seccomp_data, arch));
        emit_arch(out, profile, SECCOMP_ARCH_X86_64, AUDIT_ARCH_X86_64);
        if (wanted(profile, SECCOMP_ARCH_X86))
                emit_arch(out, profile, SECCOMP_ARCH_X86, AUDIT_ARCH_I386);
        emit_return(out, BAD_ARCH);
        n = out->len;
        if (n > BPF_MAXINSNS) {
                plan_fail(error, PLAN_ERROR_INVALID,
                          "linux.seccomp: the profile makes a program of %zu instructions, more than %d", n,
                          BPF_MAXINSNS);
                return NULL;
        }
        return g_bytes_new(out->data, n * sizeof(struct sock_filter));
}
