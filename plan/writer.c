/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writes the flat memory of a plan.
 *
 * Strings and arrays are appended in the order they come; struct plan itself is filled in last, at
 * offset 0. The writer owns the memory until the caller has copied it into a memfd. Sizes are
 * checked once at the end (build.c), so offsets here may not exceed 32 bits: the bound on a
 * specification's text keeps them far below.
 */

#include <string.h>

#include "plan/writer.h"

/** writer_init() - Begins a plan: zeroes where struct plan will stand. */
void writer_init(PlanWriter *writer) {
        writer->bytes = g_byte_array_sized_new(16384);
        g_byte_array_set_size(writer->bytes, sizeof(struct plan));
        memset(writer->bytes->data, 0, sizeof(struct plan));
}

/** writer_clear() - Frees the memory. */
void writer_clear(PlanWriter *writer) {
        g_clear_pointer(&writer->bytes, g_byte_array_unref);
}

/** writer_string() - Appends a string, 0 for NULL. */
plan_str writer_string(PlanWriter *writer, const char *s) {
        plan_str at = writer->bytes->len;

        if (!s)
                return 0;
        g_byte_array_append(writer->bytes, (const guint8 *)s, (guint)strlen(s) + 1);
        return at;
}

/** writer_array() - Appends @n records of @size bytes, aligned to 8. */
struct plan_list writer_array(PlanWriter *writer, gconstpointer records, gsize n, gsize size) {
        static const guint8 zeroes[8];
        struct plan_list list = { .n = (guint32)n };

        if (n == 0)
                return list;
        g_byte_array_append(writer->bytes, zeroes, -writer->bytes->len & 7);
        list.offset = writer->bytes->len;
        g_byte_array_append(writer->bytes, records, (guint)(n * size));
        return list;
}

/** writer_strings() - Appends strings and the array of their offsets. */
struct plan_list writer_strings(PlanWriter *writer, const char *const *strings, gsize n) {
        g_autofree plan_str *offsets = g_new(plan_str, n);

        for (gsize i = 0; i < n; i++)
                offsets[i] = writer_string(writer, strings[i]);
        return writer_array(writer, offsets, n, sizeof(*offsets));
}
