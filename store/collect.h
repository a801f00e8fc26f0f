/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looking after the store: collection and checks. Results are JSON as in shared/store-protocol.h. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/job.h"
#include "store/repo.h"

typedef struct Roots Roots;

/* What the manager's records name, 64 digits each. */
struct Roots {
        GHashTable *chains;
        GHashTable *contents;
};

/* Called while the repository is held: nothing that the records do not name can be published meanwhile. */
typedef gboolean (*roots_func_t)(void *userdata, Roots *ret, GError **error);

void roots_init(Roots *r);
void roots_clear(Roots *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Roots, roots_clear)

JsonNode *store_collect(Store *s, StoreJob *job, gboolean dry_run, roots_func_t ask, void *userdata, GError **error);
JsonNode *store_why(Store *s, const guint8 object[DIGEST_SIZE], GError **error);
JsonNode *store_check(Store *s, StoreJob *job, gboolean repair, const Roots *roots, GError **error);
