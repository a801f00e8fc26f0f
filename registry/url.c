/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * URLs that a registry has written: where they lead to.
 *
 * libcurl takes them apart, the same code that will use them, so that nobody is asked whom we have not looked at. A URL
 * with a user name in it is none of ours.
 */

#include <curl/curl.h>
#include <string.h>

#include "registry/registry.h"

static CURLU *parse(const char *url) {
        CURLU *u = curl_url();

        if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK)
                return u;
        curl_url_cleanup(u);
        return NULL;
}

static char *part(CURLU *u, CURLUPart which, unsigned flags) {
        char *text = NULL, *copy = NULL;

        if (curl_url_get(u, which, &text, flags) == CURLUE_OK)
                copy = g_strdup(text);
        curl_free(text);
        return copy;
}

/** url_server() - "host", or "host:port" where the port is not the usual one, in lower case; free with g_free()
 *
 * @ret_plain: TRUE for http, FALSE for https. Return: NULL for what is no valid URL of these two.
 */
char *url_server(const char *url, gboolean *ret_plain) {
        CURLU *u = parse(url);
        g_autofree char *scheme = NULL, *host = NULL, *port = NULL, *server = NULL;

        if (!u)
                return NULL;
        scheme = part(u, CURLUPART_SCHEME, 0);
        host = part(u, CURLUPART_HOST, 0);
        port = part(u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
        curl_url_cleanup(u);
        if (!host || !scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
                return NULL;
        *ret_plain = strcmp(scheme, "http") == 0;
        server = g_strconcat(host, port ? ":" : NULL, port, NULL);
        return g_ascii_strdown(server, -1);
}

/** url_resolve() - @location, which may be relative, as seen from @base; NULL when it is none */
char *url_resolve(const char *base, const char *location) {
        CURLU *u = parse(base);
        char *url = NULL;

        if (!u)
                return NULL;
        if (curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) == CURLUE_OK)
                url = part(u, CURLUPART_URL, 0);
        curl_url_cleanup(u);
        return url;
}

/** url_add_query() - @url with one more parameter; NULL when it is no URL */
char *url_add_query(const char *url, const char *name, const char *value) {
        g_autofree char *query = g_strconcat(name, "=", value, NULL);
        CURLU *u = parse(url);
        char *more = NULL;

        if (!u)
                return NULL;
        if (curl_url_set(u, CURLUPART_QUERY, query, CURLU_APPENDQUERY | CURLU_URLENCODE) == CURLUE_OK)
                more = part(u, CURLUPART_URL, 0);
        curl_url_cleanup(u);
        return more;
}
