/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who uses objects: the chains, contents and layers that lead to them, and by which path. */

#include <glib.h>

#include "store/mark.h"
#include "store/repo.h"

typedef struct User User;

/* One object; the sets hold 64 digits each. */
struct User {
        ObjectKind kind;
        guint8 checksum[DIGEST_SIZE];
        char *path; /* below the root of a chain, or of whatever else leads to it; NULL: not found */
        GHashTable *chains, *contents, *layers, *erofs;
};

void user_free(User *u);

/* @fallback_fd: where metadata that is damaged was made again, or -1. @wanted: what to look for. @affected, if given,
 * gets the refs that lead to any of it. Result: User. */
GPtrArray *users_find(Store *s, int fallback_fd, GHashTable *refs, const Mark *wanted, GHashTable *affected);
