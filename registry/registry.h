/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One registry, as one operation talks to it: where it is, what it wants to see, how often it is asked again. */

#include <glib.h>
#include <sys/socket.h>

#include "registry/credentials.h"
#include "registry/http.h"
#include "registry/reference.h"

typedef struct Fetch Fetch;
typedef struct Registry Registry;

struct Registry {
        Operation *operation;
        const Reference *reference;
        const Credentials *credentials;
        const char *const *token_hosts; /* may have name and password, too */
        HttpTimes times;
        guint retries;
        char *server;        /* host, and port where it is not the usual one */
        gboolean insecure;   /* plain HTTP is allowed */
        gboolean plain;      /* and is what is spoken */
        gboolean reached;    /* it has answered */
        gboolean local;      /* from this machine: it may lead to others here */
        gboolean shown;      /* the last request has carried what follows */
        char *authorization; /* what it wanted to see the last time, or NULL */
};

/* What is wanted of it. */
struct Fetch {
        const char *kind; /* "manifests" or "blobs" */
        const char *version;
        const char *what; /* for people: "the manifest of debian:12" */
        const char *accept;
        HttpBegin begin;
        HttpTake take;
        void *userdata;
        const guint64 *done; /* of a body that is taken: so much has come by now, and is not wanted again */
        guint64 size;        /* the whole of it */
        gsize max;           /* of one that is not */
};

void registry_init(Registry *r, Operation *o, const Reference *reference, const Credentials *credentials,
                   gboolean insecure);
void registry_clear(Registry *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Registry, registry_clear)

gboolean registry_fetch(Registry *r, const Fetch *f, HttpAnswer *ret, GError **error);
gboolean registry_try_again(const Registry *r, const HttpAnswer *a, guint *attempt, GError **error);
char *registry_certificates(const char *server);

/* auth.c */
gboolean registry_authorize(Registry *r, const char *header, GError **error);

/* url.c */
char *url_server(const char *url, gboolean *ret_plain); /* NULL: not one of ours */
char *url_resolve(const char *base, const char *location);
char *url_add_query(const char *url, const char *name, const char *value);

/* address.c: whether it is this machine's alone, or of its link */
gboolean address_is_local(const struct sockaddr *address, gsize size);
gboolean address_is_proxy(const struct sockaddr *address, gsize size);
gboolean address_text_is_local(const char *text);

/* answer.c */
gboolean answer_refused(const Registry *r, const char *said, GError **error);
gboolean answer_fail(const Registry *r, const Fetch *f, const HttpAnswer *a, GError **error);
gboolean answer_may_pass(const HttpAnswer *a);
gint64 answer_wait_usec(const HttpAnswer *a);
