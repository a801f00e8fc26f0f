/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one table between errno and org.davit.Davit1.Error.*. Every setter returns the negative errno of the error's
 * name, so a function ends with "return error_not_found(error, "...")".
 */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "shared/macros.h"

typedef enum ErrorKind {
        ERROR_NOT_FOUND,           /* ENOENT */
        ERROR_ALREADY_EXISTS,      /* EEXIST */
        ERROR_INVALID_ARGUMENT,    /* EINVAL */
        ERROR_FAILED_PRECONDITION, /* EBUSY */
        ERROR_STOP_TIMEOUT,        /* ETIME */
        ERROR_NOT_SUPPORTED,       /* EOPNOTSUPP */
        ERROR_RESOURCE_EXHAUSTED,  /* ENOSPC */
        ERROR_PERMISSION_DENIED,   /* EACCES */
        ERROR_UNAVAILABLE,         /* EAGAIN */
        ERROR_INTERNAL,            /* EIO */
        _ERROR_KIND_MAX,
} ErrorKind;

/* table */
const char *error_kind_name(ErrorKind kind);                 /* "NotFound" */
const char *error_kind_bus_name(ErrorKind kind);             /* "org.davit.Davit1.Error.NotFound" */
int error_kind_errno(ErrorKind kind);                        /* -ENOENT */
bool error_kind_from_name(const char *name, ErrorKind *ret); /* "NotFound" or the whole bus name */
ErrorKind error_kind_from_errno(int r);                      /* anything unknown is ERROR_INTERNAL */

/* setters; error may be NULL */
int error_set(sd_bus_error *error, ErrorKind kind, const char *format, ...) _printf_(3, 4);
int error_set_errno(sd_bus_error *error, int r, const char *format, ...) _printf_(3, 4); /* appends strerror */
int error_set_gerror(sd_bus_error *error, const GError *g);                              /* of plan/ */

#define error_not_found(e, ...) error_set((e), ERROR_NOT_FOUND, __VA_ARGS__)
#define error_exists(e, ...) error_set((e), ERROR_ALREADY_EXISTS, __VA_ARGS__)
#define error_invalid(e, ...) error_set((e), ERROR_INVALID_ARGUMENT, __VA_ARGS__)
#define error_precondition(e, ...) error_set((e), ERROR_FAILED_PRECONDITION, __VA_ARGS__)
#define error_not_supported(e, ...) error_set((e), ERROR_NOT_SUPPORTED, __VA_ARGS__)
#define error_unavailable(e, ...) error_set((e), ERROR_UNAVAILABLE, __VA_ARGS__)
#define error_internal(e, ...) error_set((e), ERROR_INTERNAL, __VA_ARGS__)

#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)
