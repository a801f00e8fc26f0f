/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who we are to a registry: user and password from a file of podman's or docker's, or from stdin. */

#include "ctl/ctl.h"

typedef struct Auth {
        int fd;        /* of a memory file with JSON for the manager; -1: nobody in particular */
        char *host;    /* whom it is for */
        char *from;    /* the file, or stdin in words */
        char *ignored; /* the credential helper that a file names and that is not asked */
} Auth;

#define AUTH_INIT                                                                                                      \
        { .fd = -1 }
#define _cleanup_auth_ _cleanup_(auth_clear)

int auth_find(Ctl *ctl, Auth *auth, const char *file, const char *image);
int auth_from_stdin(Ctl *ctl, Auth *auth, const char *image);
void auth_clear(Auth *auth);

/* parts, for tests */
int auth_search(const char *text, const char *image, char **ret_auth, char **ret_helper);
char *auth_host(const char *image);
char *auth_document(const char *host, const char *credentials);
char *auth_decode(const char *base64);
