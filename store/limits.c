/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Limits of an import: the defaults, and setting one by its name.
 *
 * The values are plain data owned by whoever runs an operation; the places that consume input compare.
 */

#include "store/limits.h"

#include <stddef.h>
#include <string.h>

#include "store/error.h"

typedef struct {
        const char *name;
        size_t offset;
        guint64 initial;
        guint64 max;
} LimitRow;

static const LimitRow limit_rows[] = {
        { "bytes", offsetof(StoreLimits, bytes), G_GUINT64_CONSTANT(64) << 30, G_MAXINT64 },
        { "ratio", offsetof(StoreLimits, ratio), 250, G_MAXUINT32 },
        { "ratio_floor", offsetof(StoreLimits, ratio_floor), G_GUINT64_CONSTANT(512) << 20, G_MAXINT64 },
        { "entries", offsetof(StoreLimits, entries), 500000, 100000000 },
        { "path", offsetof(StoreLimits, path), 4095, 4095 },
        { "depth", offsetof(StoreLimits, depth), 256, 1024 },
        { "xattrs", offsetof(StoreLimits, xattrs), 128 << 10, 1 << 20 },
        { "memory", offsetof(StoreLimits, memory), 512 << 20, G_GUINT64_CONSTANT(8) << 30 },
        { "layers", offsetof(StoreLimits, layers), 256, 4096 },
        { "images", offsetof(StoreLimits, images), 64, 4096 },
};

/** store_limits_init() - the defaults */
void store_limits_init(StoreLimits *limits) {
        for (size_t i = 0; i < G_N_ELEMENTS(limit_rows); i++)
                G_STRUCT_MEMBER(guint64, limits, limit_rows[i].offset) = limit_rows[i].initial;
}

/** store_limits_lift() - the highest that can be set, for what is in the store already */
void store_limits_lift(StoreLimits *limits) {
        for (size_t i = 0; i < G_N_ELEMENTS(limit_rows); i++)
                G_STRUCT_MEMBER(guint64, limits, limit_rows[i].offset) = limit_rows[i].max;
}

/** store_limits_set() - set the limit called @name; one above its ceiling, or zero, is refused */
gboolean store_limits_set(StoreLimits *limits, const char *name, guint64 value, GError **error) {
        for (size_t i = 0; i < G_N_ELEMENTS(limit_rows); i++) {
                const LimitRow *row = &limit_rows[i];

                if (strcmp(row->name, name) != 0)
                        continue;
                if (value == 0 || value > row->max)
                        return store_fail(error, STORE_FAIL_INVALID, "Limit '%s' must be from 1 to %" G_GUINT64_FORMAT,
                                          name, row->max);
                G_STRUCT_MEMBER(guint64, limits, row->offset) = value;
                return TRUE;
        }
        return store_fail(error, STORE_FAIL_INVALID, "There is no limit called '%s'", name);
}
