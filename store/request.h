/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A request of store-protocol.h, carried out. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/job.h"
#include "store/repo.h"

typedef struct Request Request;

/* Where a request came from: each socket has its own operations, a person at the command line has all. */
typedef enum {
        REQUEST_COMMAND,
        REQUEST_STORE,
        REQUEST_SNAPSHOTS,
} RequestOrigin;

/* Asks the other end what has to stay (STORE_READY, STORE_ROOTS): the text of a JSON object, NULL with error. */
typedef char *(*request_roots_t)(void *userdata, GError **error);

struct Request {
        const char *directory;
        RequestOrigin origin;
        StoreJob *job;
        const int *fds; /* the caller's, in the order of the operation */
        gsize n_fds;
        request_roots_t roots;
        void *userdata; /* of roots */

        JsonNode *root; /* the request's own */
        JsonObject *members;
        Store *store;
        Ingest *held; /* protects what was published until request_done() */
};

#define REQUEST_WHAT "the request"

/* The result's text, or NULL with error. What it published is safe from collection until request_done(). */
char *request_run(Request *r, const char *text, gsize size, GError **error);
void request_done(Request *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Request, request_done)

/* for the operations */
Store *request_store(Request *r, GError **error); /* opened once, the request's */
gboolean request_members(const Request *r, const char *const *known, GError **error);
gboolean request_limits(Request *r, GError **error); /* its "limits" to the job */
gboolean request_boolean(const Request *r, const char *member, gboolean *ret, GError **error);
gboolean request_strings(const Request *r, const char *member, GPtrArray **ret, GError **error);
JsonNode *request_object(JsonObject *o); /* takes @o over */

/* operations: the result, or NULL with error */
JsonNode *request_import(Request *r, GError **error);
JsonNode *request_rootfs(Request *r, GError **error);
JsonNode *request_collect(Request *r, GError **error);
JsonNode *request_check(Request *r, GError **error);
JsonNode *request_commit(Request *r, GError **error);
JsonNode *request_why(Request *r, GError **error);
JsonNode *request_diff(Request *r, GError **error);
JsonNode *request_apply(Request *r, GError **error);
JsonNode *request_usage(Request *r, GError **error);
JsonNode *request_save(Request *r, GError **error);
JsonNode *request_compose(Request *r, GError **error);
JsonNode *request_content_commit(Request *r, GError **error);
JsonNode *request_space(Request *r, GError **error);
JsonNode *request_content_read(Request *r, GError **error);

int server_run(int sock, const char *directory, RequestOrigin origin);
int command_run(const char *directory, int argc, char **argv);
