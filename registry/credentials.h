/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody may show a registry: a name and a password, or a token. Never logged, never part of a message. */

#include <glib.h>

typedef struct Credentials Credentials;

struct Credentials {
        char *username; /* these two, */
        char *password;
        char *token; /* or this, or nothing */
};

gboolean credentials_read(int fd, const char *host, Credentials *ret, GError **error);
void credentials_clear(Credentials *c);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Credentials, credentials_clear)

char *credentials_basic(const Credentials *c);
gboolean credentials_word_valid(const char *token);
