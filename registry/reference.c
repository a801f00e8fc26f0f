/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * References as registries take them.
 *
 * The grammar is that of shared/image-name.c. Nothing is added here: which registry a short name means is the manager's
 * to say, and a reference without a host is refused. The one name that is not a host's is docker.io. Nothing here talks
 * to anybody.
 */

#include "registry/reference.h"

#include <string.h>

#include "shared/image-name.h"
#include "shared/macros.h"
#include "store/error.h"

#define HUB "docker.io"
#define HUB_SERVER "registry-1.docker.io"

void reference_clear(Reference *r) {
        g_clear_pointer(&r->text, g_free);
        g_clear_pointer(&r->host, g_free);
        g_clear_pointer(&r->path, g_free);
        g_clear_pointer(&r->tag, g_free);
        g_clear_pointer(&r->digest, g_free);
}

/** reference_parse() - take @text apart; the strings of @ret are its own */
gboolean reference_parse(const char *text, Reference *ret, GError **error) {
        _cleanup_free_ char *whole = NULL;
        gsize host, repository, version;
        const char *at;

        if (image_name_normalise(text, &whole) < 0)
                return store_fail(error, STORE_FAIL_INVALID, "'%.255s' is not a reference to an image: %s", text,
                                  image_name_why(text));
        host = image_name_host(whole);
        if (host == 0)
                return store_fail(error, STORE_FAIL_INVALID, "'%s' does not say which registry it is in", text);

        repository = image_name_repository(whole);
        version = strcspn(whole, "@");
        at = whole[version] == '@' ? whole + version + 1 : NULL;
        ret->text = g_strdup(text);
        ret->host = g_strndup(whole, host);
        ret->path = g_strndup(whole + host + 1, repository - host - 1);
        ret->tag = version > repository ? g_strndup(whole + repository + 1, version - repository - 1) : NULL;
        ret->digest = g_strdup(at);
        return TRUE;
}

/** reference_version() - what a registry is asked for: the digest, else the tag */
const char *reference_version(const Reference *r) {
        return r->digest ? r->digest : r->tag;
}

/** registry_server() - the host that serves the registry called @host */
const char *registry_server(const char *host) {
        return strcmp(host, HUB) == 0 || strcmp(host, "index.docker.io") == 0 ? HUB_SERVER : host;
}

static gboolean ends_with(const char *s, gsize size, const char *end) {
        gsize n = strlen(end);

        return size > n && g_ascii_strncasecmp(s + size - n, end, n) == 0;
}

/** registry_may_have() - whether a name and password for the registry @host may go to @other without being asked about
 *
 * The same host and port may, the domain that the registry is a part of (it could redirect the registry anyway), and
 * for docker.io every host of that domain. @other is without its port where that is the usual one.
 */
gboolean registry_may_have(const char *host, const char *other) {
        const char *server = registry_server(host);
        g_autofree char *name = g_strndup(server, strcspn(server, ":")), *domain = g_strconcat(".", other, NULL);

        if (g_ascii_strcasecmp(server, other) == 0)
                return TRUE;
        if (strchr(other, ':') || !strchr(other, '.') || g_hostname_is_ip_address(name))
                return FALSE;
        return ends_with(name, strlen(name), domain) ||
               (strcmp(server, HUB_SERVER) == 0 && ends_with(other, strlen(other), "." HUB));
}
