/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One HTTP request and its answer, within bounds of time and size. */

#include <glib.h>

#include "registry/operation.h"

typedef struct HttpAnswer HttpAnswer;
typedef struct HttpRequest HttpRequest;
typedef struct HttpTimes HttpTimes;

#define HTTP_HEADERS_MAX (64U * 1024U)
#define HTTP_ERROR_MAX (16U * 1024U) /* of the body of an answer that is an error */

typedef enum {
        HTTP_ANSWERED,    /* whatever the status is */
        HTTP_UNREACHABLE, /* no name, no connection, no TLS */
        HTTP_FOREIGN,     /* what answers does not talk HTTP */
        HTTP_LOST,        /* cut off, or nothing came for too long */
        HTTP_ENDED,       /* not the server's doing, or a bound: not to be tried again */
} HttpEnd;

struct HttpTimes {
        gint64 connect_usec;
        gint64 stall_usec;
};

/* The body of a good answer begins, or goes on; FALSE with error ends the exchange. */
typedef gboolean (*HttpBegin)(void *userdata, const HttpAnswer *answer, GError **error);
typedef gboolean (*HttpTake)(void *userdata, const void *data, gsize size, GError **error);

struct HttpRequest {
        const char *url;
        const char *accept;        /* or NULL */
        const char *authorization; /* whole value, or NULL */
        const char *ca_directory;  /* certificates in addition to the system's, or NULL */
        gboolean foreign;          /* a registry elsewhere has sent us: not to loopback or the link */
        guint64 from;              /* first byte that is wanted */
        gint64 deadline_usec;      /* for all of it; 0: none */
        HttpBegin begin;           /* where there is the next one */
        HttpTake take;             /* NULL: kept in the answer, "max" bytes at most */
        void *userdata;
        gsize max;
};

struct HttpAnswer {
        HttpEnd end;
        gboolean slow;      /* HTTP_LOST: nothing, or not enough, came for too long */
        gboolean untrusted; /* HTTP_UNREACHABLE: it talks TLS, with a certificate that is not to be trusted */
        gboolean local;     /* it came from this machine, or from a proxy there */
        gboolean taken;     /* the error is from who takes the body, and a whole sentence */
        guint status;
        gint64 length; /* of the body, as the headers say; -1: they do not */
        char *content_type;
        char *content_range;
        char *digest; /* Docker-Content-Digest */
        char *location;
        char *authenticate; /* all of them */
        char *retry_after;
        GByteArray *body;
};

void http_answer_clear(HttpAnswer *a);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HttpAnswer, http_answer_clear)

gint64 http_patience(const Operation *o, const HttpTimes *times);
gboolean http_get(Operation *o, const HttpRequest *q, const HttpTimes *times, HttpAnswer *ret, GError **error);
