/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A check as its parts share it: what is there, what is damaged, and who suffers from it. */

#include <glib.h>

#include "store/collect.h"
#include "store/mark.h"
#include "store/objects.h"
#include "store/repo.h"
#include "store/tree.h"
#include "store/users.h"

typedef struct Check Check;
typedef struct Damage Damage;

/* "object|ref|layer|chain|erofs|checkout|content", as in store-protocol.h */
struct Damage {
        const char *kind;
        char *id;
        char *path; /* may be NULL */
        char *why;
        User *user;                   /* of an object's, borrowed; else NULL */
        GPtrArray *chains, *contents; /* 64 digits each */
        gboolean repaired;
};

struct Check {
        Store *store;
        StoreJob *job;
        Ingest *ingest;
        GHashTable *refs;     /* all: ref -> commit */
        GHashTable *affected; /* refs that lead to a damaged object */
        GHashTable *whys;     /* hex and kind of a damaged object -> sentence */
        Mark *bad;            /* damaged objects */
        Objects *remade;      /* commits made again, in the working directory; NULL when all could be read */
        GPtrArray *users;     /* User of each of them */
        GPtrArray *damages;   /* Damage */
        guint64 objects, bytes;
        GMutex lock; /* of bad, whys and damages while threads run */
};

Damage *check_report(Check *c, const char *kind, const char *id, const char *why);
gboolean check_is_damage(Check *c, const GError *why); /* FALSE: it ends the check */
gboolean check_is_sound(Check *c, const char *prefix,
                        const char *hex); /* the ref is there and leads to nothing damaged */

/* check-chain.c: layers put together again, chains merged again, root file systems compared with them */
gboolean check_layers(Check *c, GError **error);
gboolean check_chains(Check *c, GError **error);
void check_remake(Check *c);
gboolean check_remake_chain(Check *c, Objects *objects, const char *hex, char commit[DIGEST_HEX], GError **error);
gboolean check_merge(Check *c, char **layers, Tree *chain, GPtrArray *keep, GError **error);

/* check-form.c */
gboolean check_erofs(Check *c, Tree *chain, const guint8 chain_id[DIGEST_SIZE], const char *hex, GError **error);
gboolean check_checkout(Check *c, Tree *chain, const char *hex, GError **error);

/* repair.c, repair-copy.c */
gboolean check_repair(Check *c, GError **error);
gboolean repair_copies(Check *c, GError **error); /* file objects, from what else has their content */
gboolean repair_unpack(Check *c, GHashTable *layers, gboolean *ret_any, GError **error); /* repair-blob.c */
