/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The state directory: repository, checkouts, images, working directories, locks. */

#include <glib.h>
#include <ostree.h>

#include "store/objects.h"
#include "store/split.h"

typedef struct Store Store;
typedef struct Ingest Ingest;

struct Store {
        char *directory;
        int dir_fd;
        int objects_fd;
        int checkouts_fd;
        int erofs_fd;
        int ingest_fd;
        int lock_fd;
        OstreeRepo *repo;
};

/* A working directory below ingest/, of one operation; removed with what is in it. */
struct Ingest {
        Store *store;
        char name[16];
        int fd;       /* also holds its lock */
        int stage_fd; /* staged objects */
        int pins_fd;  /* refs that collection has to keep while the directory is there, a line each */
};

#define REF_LAYER "davit/layer/"
#define REF_SPLIT "davit/tarsplit/"
#define REF_CHAIN "davit/chain/"
#define REF_CONTENT "davit/content/"
#define REF_EROFS "davit/erofs/"
#define CONTENT_FILE "data" /* of a content commit */
#define EROFS_FILE "image.erofs"
#define DAMAGED_DIRECTORY "damaged" /* what a repair has moved out of the way; a collection empties it */

Store *store_open(const char *directory, GError **error);
void store_close(Store *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)

/* The repository's lock, for a moment: shared to look up and pin or to publish, exclusive to collect. */
gboolean store_lock(Store *s, gboolean exclusive, GError **error);
void store_unlock(Store *s, gboolean exclusive);

Ingest *ingest_begin(Store *s, GError **error);
void ingest_end(Ingest *i);
gboolean ingest_pin(Ingest *i, const char *ref, GError **error); /* with the lock held */
gboolean store_pins(Store *s, GHashTable *ret, GError **error);  /* of all operations that run; with the lock held */
void ingest_sweep(Store *s);                                     /* what dead operations left */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ingest, ingest_end)
int ingest_spool(Ingest *i, GError **error); /* an unnamed file */

char *store_ref(const char *prefix, const guint8 digest[DIGEST_SIZE]);
gboolean store_resolve(Store *s, const char *ref, char **ret, GError **error); /* *ret NULL: no such ref */
GVariant *store_commit_metadata(Store *s, const char *commit, GError **error);
GBytes *store_commit_file(Store *s, const char *commit, const char *name, gsize max, GError **error);
char **store_chain_layers(Store *s, const char *hex, GError **error);
typedef void (*chain_handler_t)(const char *hex, char **layers, void *userdata);
void store_chains_foreach(Store *s, GHashTable *refs, chain_handler_t handler, void *userdata);
gboolean store_load_split(Store *s, const guint8 diff_id[DIGEST_SIZE], Split *ret, GError **error);
gboolean store_sync(Store *s, GError **error);

/* refs.c */
gboolean store_refs(Store *s, GHashTable **ret, GError **error); /* ref -> commit, "" where the ref is damaged */
gboolean store_set_refs(Store *s, GHashTable *refs, GError **error); /* ref -> commit, "" drops; durable on return */
gboolean store_drop_ref(Store *s, const char *ref, GError **error);
gboolean store_sync_refs(Store *s, GError **error);
