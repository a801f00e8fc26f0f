/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a registry is shown when it answers "401 Unauthorized".
 *
 * Nothing is shown unasked. Basic takes the name and the password, over HTTPS or where plain HTTP was allowed. A bearer
 * token is what we were given, or is fetched from where the challenge says: without credentials from anybody, with name
 * and password only from who may have them (registry_may_have(), or a host that the configuration names), since the
 * challenge is the registry's word and the registry may be anybody. Protocol: distribution/distribution,
 * docs/spec/auth/token.md.
 */

#include <string.h>

#include "registry/challenge.h"
#include "registry/registry.h"
#include "store/error.h"
#include "store/json.h"

#define TOKEN_MAX ((gsize)256 * 1024)

static void set_authorization(Registry *r, char *value) {
        g_free(r->authorization);
        r->authorization = value;
}

static gboolean denied(const Registry *r, GError **error) {
        if (r->credentials->username || r->credentials->token)
                return store_fail(error, STORE_FAIL_DENIED, "%s does not accept the kind of credentials given for it",
                                  r->reference->host);
        return store_fail(error, STORE_FAIL_DENIED,
                          "%s lets nobody have '%s' without credentials: log in, or look whether the name is right",
                          r->reference->host, r->reference->path);
}

static gboolean is_named(const Registry *r, const char *server) {
        return r->token_hosts && g_strv_contains(r->token_hosts, server);
}

/* That plain HTTP is allowed with a registry says nothing of the domain it is in. */
static gboolean may_have(const Registry *r, const char *server, gboolean plain) {
        return is_named(r, server) || (plain ? strcmp(r->server, server) == 0 : registry_may_have(r->server, server));
}

/* The URL of a token for this repository; *ret_server is the host it leads to. */
static char *token_url(const Registry *r, const Challenge *c, char **ret_server, gboolean *ret_plain, GError **error) {
        g_autofree char *all = g_strdup_printf("repository:%s:pull", r->reference->path), *with = NULL, *url = NULL;

        *ret_plain = FALSE;
        *ret_server = url_server(c->realm, ret_plain);
        if (!*ret_server || (*ret_plain && !r->plain)) {
                store_fail(error, STORE_FAIL_UNAVAILABLE,
                           "%s sends us for a token to '%.200s', which is no URL with https", r->reference->host,
                           c->realm);
                return NULL;
        }
        with = c->service ? url_add_query(c->realm, "service", c->service) : g_strdup(c->realm);
        url = with ? url_add_query(with, "scope", c->scope ? c->scope : all) : NULL;
        if (!url)
                store_fail(error, STORE_FAIL_UNAVAILABLE, "%s sends us for a token to '%.200s', which is no URL",
                           r->reference->host, c->realm);
        return g_steal_pointer(&url);
}

static gboolean take_token(Registry *r, const char *server, const HttpAnswer *a, GError **error) {
        g_autoptr(GBytes) bytes = g_bytes_new(a->body->data, a->body->len);
        g_autoptr(JsonNode) owner = NULL;
        JsonObject *o = json_parse_object(bytes, "The answer with a token", &owner, error);
        const char *token = NULL;

        if (!o || !json_string(o, "token", "the answer with a token", &token, error) ||
            (!token && !json_string(o, "access_token", "the answer with a token", &token, error))) {
                g_prefix_error(error, "%s: ", server);
                return FALSE;
        }
        if (!token || !credentials_word_valid(token))
                return store_fail(error, STORE_FAIL_UNAVAILABLE, "%s gives no token that could be used", server);
        set_authorization(r, g_strconcat("Bearer ", token, NULL));
        return TRUE;
}

/* Asks until there is an answer that will not pass. */
static gboolean ask(Registry *r, const HttpRequest *q, HttpAnswer *ret, GError **error) {
        guint attempt = 0;

        for (;;) {
                g_autoptr(GError) failure = NULL, over = NULL;

                if (http_get(r->operation, q, &r->times, ret, &failure) && !answer_may_pass(ret))
                        return TRUE;
                if (registry_try_again(r, ret, &attempt, &over)) {
                        http_answer_clear(ret);
                        continue;
                }
                if (!over && !failure)
                        return TRUE;
                g_propagate_error(error, over ? g_steal_pointer(&over) : g_steal_pointer(&failure));
                return FALSE;
        }
}

static gboolean fetch_token(Registry *r, const Challenge *c, GError **error) {
        gboolean plain;
        g_autofree char *server = NULL, *url = token_url(r, c, &server, &plain, error), *basic = NULL,
                        *certificates = NULL;
        g_auto(HttpAnswer) a = { HTTP_ENDED };
        HttpRequest q = { .url = url, .max = TOKEN_MAX, .deadline_usec = 2 * r->times.stall_usec };

        if (!url)
                return FALSE;
        q.authorization = basic = credentials_basic(r->credentials);
        if (basic && !may_have(r, server, plain))
                return store_fail(error, STORE_FAIL_DENIED,
                                  "%s wants the credentials sent to %s, which is not known to belong to it; "
                                  "name that host in TokenHosts= of [Registry] in davit.conf if it does",
                                  r->reference->host, server);
        q.foreign = !r->local && !is_named(r, server);
        certificates = registry_certificates(server);
        q.ca_directory = certificates;
        if (!ask(r, &q, &a, error)) {
                g_prefix_error(error, "Cannot get a token from %s: ", server);
                return FALSE;
        }
        if (a.status == 200)
                return take_token(r, server, &a, error);
        if (a.status == 401 || a.status == 403)
                return basic ? answer_refused(r, "", error) : denied(r, error);
        if (a.status == 429)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "%s has had too many requests for tokens; try later",
                                  server);
        return store_fail(error, STORE_FAIL_UNAVAILABLE, "%s answers %u when asked for a token", server, a.status);
}

/** registry_authorize() - answer the challenges of a registry, by setting r->authorization
 *
 * @header: of its 401, or NULL. FALSE when we have nothing that could help.
 */
gboolean registry_authorize(Registry *r, const char *header, GError **error) {
        g_auto(Challenge) c = { CHALLENGE_NONE };
        char *basic;

        challenge_parse(header ? header : "", &c);
        switch (c.kind) {
        case CHALLENGE_BEARER:
                if (!r->credentials->token)
                        return fetch_token(r, &c, error);
                set_authorization(r, g_strconcat("Bearer ", r->credentials->token, NULL));
                return TRUE;
        case CHALLENGE_BASIC:
                basic = credentials_basic(r->credentials);
                if (!basic)
                        return denied(r, error);
                set_authorization(r, basic);
                return TRUE;
        default:
                return denied(r, error);
        }
}
