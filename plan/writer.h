/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The memory of a plan while it is being written: offsets, strings, arrays (layout: shared/plan.h). */

#include <glib.h>

#include "shared/plan.h"

typedef struct PlanWriter {
        GByteArray *bytes; /* begins with room for struct plan */
} PlanWriter;

void writer_init(PlanWriter *writer);
void writer_clear(PlanWriter *writer);
plan_str writer_string(PlanWriter *writer, const char *s); /* NULL: 0 */
struct plan_list writer_array(PlanWriter *writer, gconstpointer records, gsize n, gsize size);
struct plan_list writer_strings(PlanWriter *writer, const char *const *strings, gsize n);
