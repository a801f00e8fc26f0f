/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From rules to BPF: a search tree over ranges of system call numbers for each architecture.
 *
 * Neighbouring numbers with the same outcome are one range, so the several hundred names of a usual
 * profile become about a hundred ranges and a call is decided in seven or eight comparisons; loading
 * such a program costs the kernel a fraction of what one comparison a name costs. Here rules become
 * ranges; seccomp-emit.c makes instructions of them. What rules mean when they meet is libseccomp's way, which profiles
 * are written for: a rule without conditions outweighs all others for the same call, the first of several; rules whose
 * action is the default one are left out; a number of another architecture kills.
 */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "plan/build.h"
#include "plan/fields.h"
#include "plan/seccomp-emit.h"

#define BAD_ARCH SECCOMP_RET_KILL_THREAD /* libseccomp's default */

static void call_free(gpointer data) {
        SeccompCall *call = data;

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
        SeccompCall *call = g_hash_table_lookup(calls, GUINT_TO_POINTER(number));

        if (!call) {
                call = g_new0(SeccompCall, 1);
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
        const SeccompCall *x = *(const SeccompCall *const *)a, *y = *(const SeccompCall *const *)b;

        return x->number < y->number ? -1 : x->number > y->number;
}

static void append_range(GArray *ranges, guint32 start, guint32 action, const SeccompCall *call) {
        SeccompRange range = { .start = start, .action = action, .call = call };
        SeccompRange *last = ranges->len ? &g_array_index(ranges, SeccompRange, ranges->len - 1) : NULL;

        if (last && last->start == start)
                *last = range;
        else if (!last || call || last->call || last->action != action)
                g_array_append_val(ranges, range);
}

static GArray *make_ranges(GHashTable *calls, guint32 default_action, gboolean refuse_x32) {
        GArray *ranges = g_array_new(FALSE, TRUE, sizeof(SeccompRange));
        g_autoptr(GPtrArray) sorted = g_ptr_array_new();
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, calls);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(sorted, value);
        g_ptr_array_sort(sorted, compare_calls);
        append_range(ranges, 0, default_action, NULL);
        for (guint i = 0; i < sorted->len; i++) {
                const SeccompCall *call = sorted->pdata[i];

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
                const SeccompRange *a = &g_array_index(ranges, SeccompRange, i - 1),
                                   *b = &g_array_index(ranges, SeccompRange, i);

                if (!a->call && !b->call && a->action == b->action)
                        g_array_remove_index(ranges, i);
        }
        return ranges;
}

static gboolean wanted(const SeccompProfile *profile, SeccompArch arch) {
        return (profile->arches & 1U << arch) != 0;
}

/* The part of one value of seccomp_data.arch; x32 comes as x86-64. Returns where it begins. */
static SeccompEntry compile_arch(SeccompEmitter *emitter, const SeccompProfile *profile, SeccompArch arch) {
        g_autoptr(GHashTable) calls = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, call_free);
        gboolean with_x32 = arch == SECCOMP_ARCH_X86_64 && wanted(profile, SECCOMP_ARCH_X32);
        g_autoptr(GArray) ranges = NULL;

        for (guint i = 0; i < profile->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);

                if (rule->action == profile->default_action)
                        continue;
                add_rule(calls, arch, rule);
                if (with_x32)
                        add_rule(calls, SECCOMP_ARCH_X32, rule);
        }
        ranges = make_ranges(calls, profile->default_action, arch == SECCOMP_ARCH_X86_64 && !with_x32);
        return seccomp_emit_ranges(emitter, &g_array_index(ranges, SeccompRange, 0), ranges->len, arch);
}

/**
 * seccomp_compile() - Compiles a profile.
 *
 * Returns an array of struct sock_filter, or NULL with PLAN_ERROR_INVALID when it would be longer
 * than the kernel takes (4,096 instructions).
 */
GBytes *seccomp_compile(const SeccompProfile *profile, GError **error) {
        g_auto(SeccompEmitter) emitter = {};
        SeccompEntry next = { .is_action = TRUE, .action = BAD_ARCH };

        seccomp_emitter_init(&emitter);
        if (wanted(profile, SECCOMP_ARCH_X86))
                next = seccomp_emit_arch(&emitter, AUDIT_ARCH_I386, compile_arch(&emitter, profile, SECCOMP_ARCH_X86),
                                         next);
        (void)seccomp_emit_arch(&emitter, AUDIT_ARCH_X86_64, compile_arch(&emitter, profile, SECCOMP_ARCH_X86_64),
                                 next);
        if (emitter.reversed->len >= BPF_MAXINSNS) {
                plan_fail(error, PLAN_ERROR_INVALID,
                          "linux.seccomp: the profile makes a program of more than %d instructions", BPF_MAXINSNS);
                return NULL;
        }
        return seccomp_emitter_finish(&emitter);
}
