/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.memoryPolicy and process.execCPUAffinity: on which memory nodes and CPUs a process is.
 *
 * Names become the kernel's numbers, set_mempolicy(2), and lists become sets. Which nodes and CPUs there are is found
 * out by the process itself.
 */

#include <linux/mempolicy.h>
#include <string.h>

#include "plan/build-internal.h"

/* the last two of Linux 5.15 and 6.9, which older headers do not have */
static const NamedValue modes[] = {
        { "MPOL_DEFAULT", MPOL_DEFAULT },
        { "MPOL_PREFERRED", MPOL_PREFERRED },
        { "MPOL_BIND", MPOL_BIND },
        { "MPOL_LOCAL", MPOL_LOCAL },
        { "MPOL_INTERLEAVE", MPOL_INTERLEAVE },
        { "MPOL_PREFERRED_MANY", 5 },
        { "MPOL_WEIGHTED_INTERLEAVE", 6 },
        {},
};

static const NamedValue flags[] = {
        { "MPOL_F_STATIC_NODES", 1U << 15 },
        { "MPOL_F_RELATIVE_NODES", 1U << 14 },
        { "MPOL_F_NUMA_BALANCING", 1U << 13 },
        {},
};

static gboolean build_set(Build *b, JsonObject *object, const char *path, const char *name, struct plan_list *ret,
                          GError **error) {
        g_autofree char *field = g_strconcat(path, name, NULL);
        g_autoptr(GByteArray) bits = g_byte_array_new();
        const char *text = NULL;
        guint size;

        if (!field_string(object, path, name, &text, error) || (text && !build_bits(field, text, bits, error)))
                return FALSE;
        size = bits->len;
        if (size == 0)
                return TRUE;
        g_byte_array_set_size(bits, (size + 7) / 8 * 8);
        memset(bits->data + size, 0, bits->len - size);
        /* a list of CPUs is the same in both byte orders, lowest first; words are not */
        for (guint i = 0; i < bits->len; i += 8) {
                guint64 word;

                memcpy(&word, bits->data + i, sizeof(word));
                word = GUINT64_FROM_LE(word);
                memcpy(bits->data + i, &word, sizeof(word));
        }
        *ret = writer_array(&b->writer, bits->data, bits->len / 8, sizeof(guint64));
        return TRUE;
}

/** build_affinity() - process.execCPUAffinity, which is for further processes and only checked in the first. */
gboolean build_affinity(Build *b, GError **error) {
        struct plan_process *p = &b->plan.process;
        JsonObject *object = NULL;

        return field_object(b->process, "process.", "execCPUAffinity", &object, error) &&
               build_set(b, object, "process.execCPUAffinity.", "initial", &p->affinity_initial, error) &&
               build_set(b, object, "process.execCPUAffinity.", "final", &p->affinity_final, error);
}

/** build_memory_policy() - Section "Memory policy". */
gboolean build_memory_policy(Build *b, GError **error) {
        g_autoptr(GPtrArray) names = NULL;
        const char *mode = NULL;
        JsonObject *object = NULL;
        guint64 value = 0;

        if (!field_object(b->linux_, "linux.", "memoryPolicy", &object, error))
                return FALSE;
        if (!object || json_object_get_size(object) == 0)
                return TRUE;
        if (!field_string(object, "linux.memoryPolicy.", "mode", &mode, error) ||
            !field_named_value(modes, "linux.memoryPolicy.mode", mode, &value, error) ||
            !build_set(b, object, "linux.memoryPolicy.", "nodes", &b->plan.memory_nodes, error) ||
            !field_strings(object, "linux.memoryPolicy.", "flags", &names, error))
                return FALSE;
        b->plan.memory_mode = (guint32)value;
        if ((b->plan.memory_mode == MPOL_DEFAULT || b->plan.memory_mode == MPOL_LOCAL) && b->plan.memory_nodes.n > 0)
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.memoryPolicy.nodes: %s takes none", mode);
        for (guint i = 0; names && i < names->len; i++) {
                if (!field_named_value(flags, "linux.memoryPolicy.flags", names->pdata[i], &value, error))
                        return FALSE;
                b->plan.memory_mode |= (guint32)value;
        }
        b->plan.flags |= PLAN_MEMORY_POLICY;
        return TRUE;
}
