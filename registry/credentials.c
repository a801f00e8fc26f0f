/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Credentials as the manager hands them over: JSON in a file of its own.
 *
 * The file is read by offset, since the next operation may be given the same one, and what was read is overwritten when
 * it is no longer needed. What is not fit for a header is refused here, by what it is and never by its text.
 */

#include "registry/credentials.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "registry/reference.h"
#include "shared/macros.h"
#include "shared/registry-protocol.h"
#include "store/error.h"
#include "store/json.h"

#define WHAT "the credentials"

static void wipe(char **text) {
        if (*text)
                explicit_bzero(*text, strlen(*text));
        g_clear_pointer(text, g_free);
}

void credentials_clear(Credentials *c) {
        g_clear_pointer(&c->username, g_free);
        wipe(&c->password);
        wipe(&c->token);
}

/** credentials_word_valid() - whether a token can stand in a header */
gboolean credentials_word_valid(const char *token) {
        for (const char *s = token; *s; s++)
                if (*s <= ' ' || *s >= 0x7f)
                        return FALSE;
        return token[0] != '\0';
}

/** credentials_basic() - name and password as the value of a header; free with g_free(), NULL where there are none */
char *credentials_basic(const Credentials *c) {
        g_autofree char *plain = NULL, *encoded = NULL;

        if (!c->username || !c->password)
                return NULL;
        plain = g_strconcat(c->username, ":", c->password, NULL);
        encoded = g_base64_encode((const guchar *)plain, strlen(plain));
        explicit_bzero(plain, strlen(plain));
        return g_strconcat("Basic ", encoded, NULL);
}

static gboolean take(JsonObject *o, const char *host, Credentials *ret, GError **error) {
        const char *username, *password, *token, *registry;

        if (!json_string(o, "username", WHAT, &username, error) ||
            !json_string(o, "password", WHAT, &password, error) || !json_string(o, "token", WHAT, &token, error) ||
            !json_string(o, "registry", WHAT, &registry, error))
                return FALSE;
        if (registry && g_ascii_strcasecmp(registry_server(registry), registry_server(host)) != 0)
                return TRUE;
        if (token ? username || password || !credentials_word_valid(token)
                  : !username || !password || strchr(username, ':') != NULL)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "The credentials are neither a token nor a user name without colon and a password");
        ret->username = g_strdup(username);
        ret->password = g_strdup(password);
        ret->token = g_strdup(token);
        return TRUE;
}

/** credentials_read() - what @fd holds, when it is for the registry called @host, else nothing */
gboolean credentials_read(int fd, const char *host, Credentials *ret, GError **error) {
        g_autofree char *data = g_malloc(REGISTRY_CREDENTIALS_MAX + 1);
        gsize size = 0;
        gssize n;
        g_autoptr(JsonNode) root = NULL;
        gboolean ok;

        do {
                n = pread(fd, data + size, REGISTRY_CREDENTIALS_MAX + 1 - size, (off_t)size);
                size += n > 0 ? (gsize)n : 0;
        } while (n > 0 || (n < 0 && errno == EINTR));
        if (n < 0)
                return store_fail_errno(error, errno, "Cannot read the credentials");
        if (size > REGISTRY_CREDENTIALS_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The credentials are larger than %u bytes",
                                  REGISTRY_CREDENTIALS_MAX);
        root = json_parse(data, size, "The text of the credentials", error);
        explicit_bzero(data, size);
        if (!root)
                return FALSE;
        ok = JSON_NODE_HOLDS_OBJECT(root) ? take(json_node_get_object(root), host, ret, error)
                                          : store_fail(error, STORE_FAIL_INVALID, "The credentials are no JSON object");
        return ok;
}
