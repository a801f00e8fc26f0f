/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What can go wrong in a worker: a GError domain whose codes are the words of the bus's error family. */

#include <glib.h>

typedef enum {
        STORE_FAIL_INTERNAL,
        STORE_FAIL_NOT_FOUND,
        STORE_FAIL_INVALID,
        STORE_FAIL_EXHAUSTED,
        STORE_FAIL_UNSUPPORTED,
        STORE_FAIL_PRECONDITION,
        STORE_FAIL_CANCELLED,
        STORE_FAIL_DENIED,
        STORE_FAIL_UNAVAILABLE,
        _STORE_FAIL_MAX,
} StoreFail;

#define STORE_FAIL (store_fail_quark())

GQuark store_fail_quark(void);
gboolean store_fail(GError **error, StoreFail code, const char *format, ...) G_GNUC_PRINTF(3, 4);
gboolean store_fail_errno(GError **error, int number, const char *format, ...) G_GNUC_PRINTF(3, 4);
gboolean store_fail_is_cancelled(const GError *error);
const char *store_fail_word(const GError *error);
