/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asking a registry for something until it is there, or it is clear that it will not be.
 *
 * One try is a request with what belongs to it: the challenge that is answered, up to five redirects. What the registry
 * wanted to see is shown to its own host and port only, never to where it redirects to; nobody gets from https to http,
 * nor from elsewhere to this machine. Where plain HTTP is allowed it is tried first, and HTTPS if what answers talks
 * something else. What may pass (a lost connection, 429, 5xx) is tried again, a body from where it was cut off.
 */

#include "registry/registry.h"

#include <string.h>

#include "store/error.h"

#define REDIRECTS_MAX 5U
#define PAUSE_USEC ((gint64)500 * 1000)
#define PAUSE_MAX_USEC (30 * G_USEC_PER_SEC)
#define PROGRESS_BYTES ((guint64)1 << 20) /* so much is worth a new series of tries */
#define CERTIFICATES DAVIT_SYSCONFDIR "/davit/certs.d/"

void registry_clear(Registry *r) {
        g_clear_pointer(&r->server, g_free);
        if (r->authorization)
                explicit_bzero(r->authorization, strlen(r->authorization));
        g_clear_pointer(&r->authorization, g_free);
}

static char *base_url(const Registry *r) {
        return g_strconcat(r->plain ? "http://" : "https://", registry_server(r->reference->host), NULL);
}

static void set_plain(Registry *r, gboolean plain) {
        g_autofree char *base = NULL;
        gboolean same;

        r->plain = plain;
        base = base_url(r);
        g_free(r->server);
        r->server = url_server(base, &same);
        if (!r->server) /* a port above 65535, say: the request will tell */
                r->server = g_strdup(r->reference->host);
}

/** registry_init() - the registry of @reference; what is handed in stays the caller's */
void registry_init(Registry *r, Operation *o, const Reference *reference, const Credentials *credentials,
                   gboolean insecure) {
        *r = (Registry){
                .operation = o,
                .reference = reference,
                .credentials = credentials,
                .insecure = insecure,
                .retries = 4,
                .times = { .connect_usec = 15 * G_USEC_PER_SEC, .stall_usec = 30 * G_USEC_PER_SEC },
        };
        set_plain(r, insecure);
}

/** registry_certificates() - where certificates stand that are trusted for @server alone; free with g_free() */
char *registry_certificates(const char *server) {
        return g_strconcat(CERTIFICATES, server, NULL);
}

/** registry_try_again() - wait before the next try; FALSE, perhaps with error, when there is to be none */
gboolean registry_try_again(const Registry *r, const HttpAnswer *a, guint *attempt, GError **error) {
        gint64 wait = MAX(answer_wait_usec(a), PAUSE_USEC << MIN(*attempt, 4));
        gboolean may = a->end == HTTP_ANSWERED      ? answer_may_pass(a)
                       : a->end == HTTP_UNREACHABLE ? r->reached && !a->untrusted
                                                    : a->end == HTTP_LOST;

        /* Waiting for somebody who is silent takes long enough once. */
        *attempt += a->slow ? MAX(r->retries / 2, 1) : 1;
        if (!may || *attempt > r->retries || wait > PAUSE_MAX_USEC || wait > http_patience(r->operation, &r->times))
                return FALSE;
        r->operation->waited += wait;
        return operation_pause(r->operation, wait, error);
}

static gboolean is_redirect(const HttpAnswer *a) {
        return a->location &&
               (a->status == 301 || a->status == 302 || a->status == 303 || a->status == 307 || a->status == 308);
}

static gboolean ask(Registry *r, const Fetch *f, const char *url, gboolean home, HttpAnswer *ret, GError **error) {
        gboolean plain;
        g_autofree char *server = url_server(url, &plain),
                        *certificates = server ? registry_certificates(server) : NULL;
        const HttpRequest q = {
                .url = url,
                .accept = f->accept,
                .authorization = home ? r->authorization : NULL,
                .ca_directory = certificates,
                .foreign = !home && !r->local,
                .from = f->done ? *f->done : 0,
                .deadline_usec = f->take ? 0 : 2 * r->times.stall_usec,
                .begin = f->begin,
                .take = f->take,
                .userdata = f->userdata,
                .max = f->max,
        };
        GError *failure = NULL;

        r->shown = q.authorization != NULL;
        http_answer_clear(ret);
        if (http_get(r->operation, &q, &r->times, ret, &failure)) {
                r->local = home ? ret->local : r->local;
                return TRUE;
        }
        if (!ret->taken && !g_error_matches(failure, STORE_FAIL, STORE_FAIL_CANCELLED))
                g_prefix_error(&failure, "Cannot get %s from %s: ", f->what, server ? server : url);
        g_propagate_error(error, failure);
        return FALSE;
}

static char *home_url(const Registry *r, const Fetch *f) {
        g_autofree char *base = base_url(r);

        return g_strconcat(base, "/v2/", r->reference->path, "/", f->kind, "/", f->version, NULL);
}

/* The first request to a host that may talk either: whatever is not HTTP may be HTTPS. */
static gboolean ask_home(Registry *r, const Fetch *f, HttpAnswer *ret, GError **error) {
        g_autofree char *url = home_url(r, f), *other = NULL;
        g_auto(HttpAnswer) second = { HTTP_ENDED };
        g_autoptr(GError) failure = NULL;
        gboolean ok = ask(r, f, url, TRUE, ret, error), second_ok;

        if (r->reached || !r->plain || ret->slow ||
            (ok ? ret->status != 400 : ret->end != HTTP_FOREIGN && ret->end != HTTP_LOST)) {
                r->reached = r->reached || ok;
                return ok;
        }
        set_plain(r, FALSE);
        other = home_url(r, f);
        second_ok = ask(r, f, other, TRUE, &second, &failure);
        if (!second_ok && second.end != HTTP_LOST && !second.untrusted) {
                set_plain(r, TRUE);
                return ok;
        }
        r->reached = TRUE;
        g_clear_error(error);
        http_answer_clear(ret);
        *ret = second;
        second = (HttpAnswer){ HTTP_ENDED };
        if (failure)
                g_propagate_error(error, g_steal_pointer(&failure));
        return second_ok;
}

static gboolean redirected(const Registry *r, const HttpAnswer *a, char **url, gboolean *ret_home, GError **error) {
        g_autofree char *next = url_resolve(*url, a->location), *server = NULL, *before = NULL;
        gboolean plain = TRUE, was_plain = FALSE;

        before = url_server(*url, &was_plain);
        server = next ? url_server(next, &plain) : NULL;
        if (!server)
                return store_fail(error, STORE_FAIL_INVALID, "%s redirects to something that is no URL of HTTP",
                                  before ? before : r->server);
        if (plain && !was_plain)
                return store_fail(error, STORE_FAIL_INVALID, "%s redirects from https to http, which is refused",
                                  before ? before : r->server);
        *ret_home = plain == r->plain && strcmp(server, r->server) == 0;
        g_free(*url);
        *url = g_steal_pointer(&next);
        return TRUE;
}

/* One try. Without an answer, or with one that is not to be tried again, ret->end says so. */
static gboolean try_once(Registry *r, const Fetch *f, HttpAnswer *ret, GError **error) {
        g_autofree char *url = NULL;
        gboolean home = TRUE, shown = FALSE;

        if (!ask_home(r, f, ret, error))
                return FALSE;
        url = home_url(r, f);
        for (guint hops = 0;;) {
                if (ret->status == 401 && home && !shown) {
                        shown = TRUE;
                        if (!registry_authorize(r, ret->authenticate, error)) {
                                ret->end = HTTP_ENDED;
                                return FALSE;
                        }
                } else if (is_redirect(ret)) {
                        gboolean ok = hops++ < REDIRECTS_MAX
                                              ? redirected(r, ret, &url, &home, error)
                                              : store_fail(error, STORE_FAIL_INVALID, "%s redirects more than %u times",
                                                           r->reference->host, REDIRECTS_MAX);

                        if (!ok) {
                                ret->end = HTTP_ENDED;
                                return FALSE;
                        }
                } else
                        return TRUE;
                if (!ask(r, f, url, home, ret, error))
                        return FALSE;
        }
}

/* A body may end where it seemed to be whole. */
static gboolean is_whole(const Registry *r, const Fetch *f, HttpAnswer *a, GError **error) {
        if (a->status < 200 || a->status >= 300)
                return FALSE;
        if (!f->done || *f->done == f->size)
                return TRUE;
        a->end = HTTP_LOST;
        return store_fail(error, STORE_FAIL_INVALID,
                          "%s sends %s only in part: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes",
                          r->reference->host, f->what, *f->done, f->size);
}

/** registry_fetch() - get what @f says
 *
 * @ret: the answer, with its body where nobody takes it. Return: TRUE when all of it has come; what it is, is the
 * caller's to check.
 */
gboolean registry_fetch(Registry *r, const Fetch *f, HttpAnswer *ret, GError **error) {
        guint64 counted = f->done ? *f->done : 0;
        guint attempt = 0;

        *ret = (HttpAnswer){ .end = HTTP_ENDED };
        for (;;) {
                g_autoptr(GError) failure = NULL, over = NULL;
                gboolean answered = try_once(r, f, ret, &failure);

                if (answered && is_whole(r, f, ret, &failure))
                        return TRUE;
                if (f->done && *f->done >= counted + PROGRESS_BYTES) {
                        counted = *f->done;
                        attempt = 0;
                }
                if (registry_try_again(r, ret, &attempt, &over))
                        continue;
                if (over || failure)
                        g_propagate_error(error, over ? g_steal_pointer(&over) : g_steal_pointer(&failure));
                else
                        (void)answer_fail(r, f, ret, error);
                return FALSE;
        }
}
