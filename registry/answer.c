/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an answer other than the wanted one means, for people.
 *
 * A registry says why in JSON (OCI distribution specification 1.1, "Error Codes"), which is quoted in part when it can
 * be read, and never relied on: the status alone decides.
 */

#include <string.h>

#include "registry/registry.h"
#include "store/error.h"
#include "store/json.h"

#define QUOTE_MAX 200
#define WAIT_MAX_SEC (7 * 24 * 3600)

/* ": what the registry says", or nothing; free with g_free() */
static char *quote(const HttpAnswer *a) {
        g_autoptr(JsonNode) root = a->body ? json_parse((const char *)a->body->data, a->body->len, "", NULL) : NULL;
        g_autofree char *clean = NULL;
        const char *code = NULL, *message = NULL;
        JsonArray *errors = NULL;
        JsonObject *o = NULL;

        if (root && JSON_NODE_HOLDS_OBJECT(root) &&
            json_array(json_node_get_object(root), "errors", "", &errors, NULL) && errors &&
            json_array_get_length(errors) > 0)
                o = json_element(errors, 0, "", NULL);
        if (!o || !json_string(o, "code", "", &code, NULL) || !json_string(o, "message", "", &message, NULL) ||
            (!code && !message))
                return g_strdup("");
        clean = g_utf8_substring(message ? message : code, 0,
                                 MIN(QUOTE_MAX, g_utf8_strlen(message ? message : code, -1)));
        for (char *s = clean; *s; s++)
                if (g_ascii_iscntrl(*s))
                        *s = ' ';
        return g_strconcat(" (\"", clean, "\")", NULL);
}

/** answer_may_pass() - whether the same request may get another answer soon */
gboolean answer_may_pass(const HttpAnswer *a) {
        switch (a->status) {
        case 408:
        case 429:
        case 500:
        case 502:
        case 503:
        case 504:
                return TRUE;
        default:
                return FALSE;
        }
}

/** answer_wait_usec() - how long the answer asks us to wait; 0: it does not say */
gint64 answer_wait_usec(const HttpAnswer *a) {
        guint64 seconds;

        if (!a->retry_after || !g_ascii_string_to_unsigned(a->retry_after, 10, 0, WAIT_MAX_SEC, &seconds, NULL))
                return 0;
        return (gint64)seconds * G_USEC_PER_SEC;
}

static gboolean fail_not_found(const Registry *r, const Fetch *f, const char *said, GError **error) {
        if (strcmp(f->version, reference_version(r->reference)) == 0)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "%s has no '%s%c%s'%s", r->reference->host,
                                  r->reference->path, r->reference->digest ? '@' : ':', f->version, said);
        return store_fail(error, STORE_FAIL_UNAVAILABLE, "%s does not have %s, which it names itself%s",
                          r->reference->host, f->what, said);
}

/** answer_refused() - the error that user and password, or the token, are nobody's; @said follows it */
gboolean answer_refused(const Registry *r, const char *said, GError **error) {
        return store_fail(error, STORE_FAIL_DENIED,
                          "%s does not accept the credentials given for it: they are wrong, or no longer good%s",
                          r->reference->host, said);
}

/* Whether the registry has said no to what we were given. A token it has made of that says who we are, so that a 401
 * is about what we may have. */
static gboolean is_refused(const Registry *r, const HttpAnswer *a) {
        return a->status == 401 && r->shown && (r->credentials->token || g_str_has_prefix(r->authorization, "Basic "));
}

static gboolean fail_denied(const Registry *r, const HttpAnswer *a, const char *said, GError **error) {
        if (is_refused(r, a))
                return answer_refused(r, said, error);
        if (r->credentials->username || r->credentials->token)
                return store_fail(error, STORE_FAIL_DENIED,
                                  "%s does not let the holder of these credentials have '%s'%s", r->reference->host,
                                  r->reference->path, said);
        return store_fail(error, STORE_FAIL_DENIED,
                          "%s lets nobody have '%s' without credentials: log in, or look whether the name is right%s",
                          r->reference->host, r->reference->path, said);
}

static gboolean fail_too_many(const Registry *r, const HttpAnswer *a, const char *said, GError **error) {
        gint64 wait = answer_wait_usec(a) / G_USEC_PER_SEC;

        if (wait > 0)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "%s has had too many requests from here; try again in %" G_GINT64_FORMAT " seconds%s",
                                  r->reference->host, wait, said);
        return store_fail(error, STORE_FAIL_EXHAUSTED,
                          "%s has had too many requests from here; try again later, or with credentials%s",
                          r->reference->host, said);
}

/** answer_fail() - the error that an answer is */
gboolean answer_fail(const Registry *r, const Fetch *f, const HttpAnswer *a, GError **error) {
        g_autofree char *said = quote(a);

        switch (a->status) {
        case 404:
                return fail_not_found(r, f, said, error);
        case 401:
        case 403:
                return fail_denied(r, a, said, error);
        case 429:
                return fail_too_many(r, a, said, error);
        default:
                return store_fail(error, STORE_FAIL_UNAVAILABLE, "%s answers %u when asked for %s%s",
                                  r->reference->host, a->status, f->what, said);
        }
}
