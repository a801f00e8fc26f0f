/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The error domain of plan/: one quark and the helper that every section uses to refuse a field.
 *
 * Owned by nobody, holds no state. A message always names the field of config.json it is about, so
 * that the manager can hand it to a user as it is. It never logs.
 */

#include "plan/build.h"
#include "plan/fields.h"

G_DEFINE_QUARK(davit - plan - error - quark, plan_error)

/**
 * plan_fail() - Sets @error and returns FALSE, so that "return plan_fail(...)" ends a function.
 * @code: what kind of refusal it is
 * @format: sentence that begins with the field's path
 */
gboolean plan_fail(GError **error, PlanError code, const char *format, ...) {
        va_list ap;

        if (!error)
                return FALSE;
        va_start(ap, format);
        g_propagate_error(error, g_error_new_valist(PLAN_ERROR, (int)code, format, ap));
        va_end(ap);
        return FALSE;
}
