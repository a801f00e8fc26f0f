/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Errors of the workers.
 *
 * Every function of store/ and registry/ that can fail sets a GError of this domain, or passes on one of GLib or
 * libostree. Only here is an error translated into a word of the bus's error family; nothing here logs.
 */

#include "store/error.h"

#include <errno.h>
#include <gio/gio.h>

static const char *const fail_words[_STORE_FAIL_MAX] = {
        [STORE_FAIL_INTERNAL] = "Internal",
        [STORE_FAIL_NOT_FOUND] = "NotFound",
        [STORE_FAIL_INVALID] = "InvalidArgument",
        [STORE_FAIL_EXHAUSTED] = "ResourceExhausted",
        [STORE_FAIL_UNSUPPORTED] = "NotSupported",
        [STORE_FAIL_CANCELLED] = "Unavailable",
        [STORE_FAIL_PRECONDITION] = "FailedPrecondition",
        [STORE_FAIL_DENIED] = "PermissionDenied",
        [STORE_FAIL_UNAVAILABLE] = "Unavailable",
};

/** store_fail_quark() - the error domain of StoreFail codes */
GQuark store_fail_quark(void) {
        return g_quark_from_static_string("davit-store-fail");
}

/** store_fail() - set an error and return FALSE, so that a check is one line
 *
 * @format makes a sentence that names the file, layer or entry it is about.
 */
gboolean store_fail(GError **error, StoreFail code, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error && !*error)
                *error = g_error_new_valist(STORE_FAIL, (int)code, format, args);
        va_end(args);
        return FALSE;
}

/** store_fail_errno() - the same for a failed system call; a full disk or table becomes STORE_FAIL_EXHAUSTED
 *
 * @number is a positive errno; its text follows the sentence.
 */
gboolean store_fail_errno(GError **error, int number, const char *format, ...) {
        StoreFail code = STORE_FAIL_INTERNAL;
        g_autofree char *text = NULL;
        va_list args;

        if (number == ENOSPC || number == EDQUOT || number == EMFILE || number == ENFILE || number == ENOMEM)
                code = STORE_FAIL_EXHAUSTED;
        else if (number == ECANCELED)
                code = STORE_FAIL_CANCELLED;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        return store_fail(error, code, "%s: %s", text, g_strerror(number));
}

/** store_fail_is_cancelled() - whether an error is that somebody wanted the end, who knows why and says so */
gboolean store_fail_is_cancelled(const GError *error) {
        return g_error_matches(error, STORE_FAIL, STORE_FAIL_CANCELLED) ||
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/** store_fail_word() - the bus error family's word for an error of any domain */
const char *store_fail_word(const GError *error) {
        if (error->domain == STORE_FAIL && error->code >= 0 && error->code < _STORE_FAIL_MAX)
                return fail_words[error->code];
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE))
                return "ResourceExhausted";
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return "Unavailable";
        return "Internal";
}
