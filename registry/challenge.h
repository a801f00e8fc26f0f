/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* WWW-Authenticate: what a registry wants to see. */

#include <glib.h>

typedef struct Challenge Challenge;

typedef enum {
        CHALLENGE_NONE, /* nothing we could answer */
        CHALLENGE_BASIC,
        CHALLENGE_BEARER,
} ChallengeKind;

struct Challenge {
        ChallengeKind kind;
        char *realm;   /* of a bearer, where tokens are to be had */
        char *service; /* or NULL */
        char *scope;   /* or NULL */
};

void challenge_parse(const char *header, Challenge *ret);
void challenge_clear(Challenge *c);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Challenge, challenge_clear)
