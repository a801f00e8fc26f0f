/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A reference in full, HOST[:PORT]/PATH[:TAG][@DIGEST], taken apart. */

#include <glib.h>

typedef struct Reference Reference;

struct Reference {
        char *text; /* as it was given */
        char *host; /* as it was given, with its port: "docker.io", "localhost:5000" */
        char *path;
        char *tag;    /* or NULL */
        char *digest; /* or NULL; where both are there, this one counts */
};

gboolean reference_parse(const char *text, Reference *ret, GError **error);
void reference_clear(Reference *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reference, reference_clear)

const char *reference_version(const Reference *r); /* digest or tag */
const char *registry_server(const char *host);
gboolean registry_may_have(const char *host, const char *other);
