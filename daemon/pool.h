/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parked shims: already inside ready scopes, for starts that leave the id to the manager. */

#include "daemon/link.h"

typedef struct Parked {
        char *id, *scope;
        Link *link;
        GPtrArray *properties; /* PlanUnitProperty the scope was made with */
} Parked;

int pool_new(Manager *m, Pool **ret);
Pool *pool_free(Pool *p);
bool pool_reserve(Pool *p, const char *ns, char **ret_id);  /* an id whose scope is ready */
Parked *pool_take(Pool *p, const char *ns, const char *id); /* NULL: none; the caller owns it */
void pool_release(Pool *p, const char *id);                 /* a reserved one that nobody will take */
void pool_refill(Pool *p);
void pool_refill_later(Pool *p);                                  /* soon, once nothing urgent is left */
void pool_discard(Pool *p, const char *ns, const char *id); /* one that a failed start leaves; any id is fine */
void parked_free(Parked *k);
