/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: what a registry wants to see (WWW-Authenticate), and where it sends us.
 *
 * The input is a header. What it asks for has to be printable, and a bearer to have a realm, which goes on to be taken
 * apart as the URL it may be.
 */

#include <string.h>

#include "registry/challenge.h"
#include "registry/registry.h"
#include "tests/fuzz/fuzz.h"

static void check(const char *value) {
        for (const char *s = value ? value : ""; *s; s++)
                g_assert_true(*s >= ' ' && *s < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *header = g_strndup((const char *)data, size);
        g_autofree char *server = NULL, *next = NULL, *query = NULL;
        g_auto(Challenge) c = { CHALLENGE_NONE };
        gboolean plain;

        challenge_parse(header, &c);
        check(c.realm);
        check(c.service);
        check(c.scope);
        if (c.kind != CHALLENGE_BEARER)
                return 0;
        g_assert_nonnull(c.realm);
        server = url_server(c.realm, &plain);
        next = url_resolve("https://r.example/v2/", c.realm);
        query = url_add_query(c.realm, "scope", c.scope ? c.scope : "");
        if (server) {
                g_assert_null(strpbrk(server, "/@?#"));
                g_assert_nonnull(next);
                g_assert_nonnull(query);
                (void)registry_may_have("registry.r.example:5000", server);
        }
        return 0;
}
