/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of the bus face.
 *
 * Inside the daemon a function returns a negative errno; where a caller on the bus is to read a sentence,
 * it fills an sd_bus_error by the setters here. This file holds the only table between the two, so a
 * name of the error family and its errno cannot drift apart. It never logs.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/error.h"
#include "plan/build.h"
#include "shared/name.h"

#define MESSAGE_MAX 1024U /* bytes */

static const struct {
        const char *name;
        int error;
} table[_ERROR_KIND_MAX] = {
        [ERROR_NOT_FOUND] = { "NotFound", ENOENT },
        [ERROR_ALREADY_EXISTS] = { "AlreadyExists", EEXIST },
        [ERROR_INVALID_ARGUMENT] = { "InvalidArgument", EINVAL },
        [ERROR_FAILED_PRECONDITION] = { "FailedPrecondition", EBUSY },
        [ERROR_STOP_TIMEOUT] = { "StopTimeout", ETIME },
        [ERROR_NOT_SUPPORTED] = { "NotSupported", EOPNOTSUPP },
        [ERROR_RESOURCE_EXHAUSTED] = { "ResourceExhausted", ENOSPC },
        [ERROR_PERMISSION_DENIED] = { "PermissionDenied", EACCES },
        [ERROR_UNAVAILABLE] = { "Unavailable", EAGAIN },
        [ERROR_INTERNAL] = { "Internal", EIO },
};

static const char *const bus_names[_ERROR_KIND_MAX] = {
        [ERROR_NOT_FOUND] = DAVIT_BUS_ERROR "NotFound",
        [ERROR_ALREADY_EXISTS] = DAVIT_BUS_ERROR "AlreadyExists",
        [ERROR_INVALID_ARGUMENT] = DAVIT_BUS_ERROR "InvalidArgument",
        [ERROR_FAILED_PRECONDITION] = DAVIT_BUS_ERROR "FailedPrecondition",
        [ERROR_STOP_TIMEOUT] = DAVIT_BUS_ERROR "StopTimeout",
        [ERROR_NOT_SUPPORTED] = DAVIT_BUS_ERROR "NotSupported",
        [ERROR_RESOURCE_EXHAUSTED] = DAVIT_BUS_ERROR "ResourceExhausted",
        [ERROR_PERMISSION_DENIED] = DAVIT_BUS_ERROR "PermissionDenied",
        [ERROR_UNAVAILABLE] = DAVIT_BUS_ERROR "Unavailable",
        [ERROR_INTERNAL] = DAVIT_BUS_ERROR "Internal",
};

/** error_kind_name() - the last part of the bus name, as STORE_ERROR carries it too */
const char *error_kind_name(ErrorKind kind) {
        return kind < _ERROR_KIND_MAX ? table[kind].name : table[ERROR_INTERNAL].name;
}

/** error_kind_bus_name() - the whole name of the D-Bus error */
const char *error_kind_bus_name(ErrorKind kind) {
        return kind < _ERROR_KIND_MAX ? bus_names[kind] : bus_names[ERROR_INTERNAL];
}

/** error_kind_errno() - the negative errno that stands for a kind inside the daemon */
int error_kind_errno(ErrorKind kind) {
        return kind < _ERROR_KIND_MAX ? -table[kind].error : -EIO;
}

/** error_kind_from_name() - finds a kind by "NotFound" or by the whole bus name */
bool error_kind_from_name(const char *name, ErrorKind *ret) {
        if (strncmp(name, DAVIT_BUS_ERROR, strlen(DAVIT_BUS_ERROR)) == 0)
                name += strlen(DAVIT_BUS_ERROR);
        for (ErrorKind k = 0; k < _ERROR_KIND_MAX; k++)
                if (streq(table[k].name, name)) {
                        *ret = k;
                        return true;
                }
        return false;
}

/** error_kind_from_errno() - the kind that says most about an errno of either sign; ERROR_INTERNAL where none does */
ErrorKind error_kind_from_errno(int r) {
        int e = r < 0 ? -r : r;

        for (ErrorKind k = 0; k < _ERROR_KIND_MAX; k++)
                if (table[k].error == e)
                        return k;
        switch (e) {
        case EPERM:
                return ERROR_PERMISSION_DENIED;
        case ENOTDIR:
        case ESRCH:
                return ERROR_NOT_FOUND;
        case ENAMETOOLONG:
        case ELOOP:
        case ERANGE:
        case EBADMSG:
                return ERROR_INVALID_ARGUMENT;
        case ENOSYS:
                return ERROR_NOT_SUPPORTED;
        case ENOMEM:
        case E2BIG:
        case EMFILE:
        case ENFILE:
        case EDQUOT:
                return ERROR_RESOURCE_EXHAUSTED;
        case ECHILD:
        case ECONNREFUSED:
        case ECONNRESET:
        case ETIMEDOUT:
        case EPIPE:
                return ERROR_UNAVAILABLE;
        default:
                return ERROR_INTERNAL;
        }
}

/* Sentences quote what a caller has said: neither its length nor its control characters reach whoever reads them. */
static char *presentable(const char *message) {
        GString *s = g_string_new(NULL);

        for (const char *p = message; *p && s->len < MESSAGE_MAX; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        g_string_append_printf(s, "\\x%02x", (unsigned char)*p);
                else
                        g_string_append_c(s, *p);
        if (s->len >= MESSAGE_MAX) {
                const char *end;

                if (!g_utf8_validate(s->str, (gssize)s->len, &end))
                        g_string_truncate(s, (gsize)(end - s->str));
                g_string_append(s, "...");
        }
        return g_string_free(s, FALSE);
}

static int error_setv(sd_bus_error *error, ErrorKind kind, const char *format, va_list ap) {
        if (error && !sd_bus_error_is_set(error)) {
                g_autofree char *whole = g_strdup_vprintf(format, ap), *message = presentable(whole);
                (void)sd_bus_error_set(error, error_kind_bus_name(kind), message);
        }
        return error_kind_errno(kind);
}

/** error_set() - fills an error with a sentence; the first one set stays. Returns the kind's negative errno. */
int error_set(sd_bus_error *error, ErrorKind kind, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = error_setv(error, kind, format, ap);
        va_end(ap);
        return r;
}

/** error_set_errno() - fills an error of the errno's kind: the sentence, ": ", what the errno means. Returns -|r|. */
int error_set_errno(sd_bus_error *error, int r, const char *format, ...) {
        g_autofree char *sentence = NULL;
        va_list ap;

        va_start(ap, format);
        sentence = g_strdup_vprintf(format, ap);
        va_end(ap);
        error_set(error, error_kind_from_errno(r), "%s: %s", sentence, g_strerror(r < 0 ? -r : r));
        return r < 0 ? r : -r;
}

/** error_set_gerror() - passes on what plan/ has said about a configuration */
int error_set_gerror(sd_bus_error *error, const GError *g) {
        if (!g)
                return error_internal(error, "An operation failed and did not say why.");
        if (g_error_matches(g, PLAN_ERROR, PLAN_ERROR_INVALID))
                return error_invalid(error, "%s", g->message);
        if (g_error_matches(g, PLAN_ERROR, PLAN_ERROR_NOT_SUPPORTED))
                return error_not_supported(error, "%s", g->message);
        return error_internal(error, "%s", g->message);
}
