/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Repairing the store after a check.
 *
 * In this order: file objects are taken from second copies (repair-copy.c); directories and commits are made again from
 * the records of their layers, of which they are a function; what is left is moved to damaged/, and with it the refs of
 * the layers that need it and the root file systems made of them. So a container of such a chain is refused at its next
 * start, and the next import of an image that has the layer unpacks it again and puts everything right. Refs of chains
 * stay, since containers may run on them. Nothing is deleted here: a collection empties damaged/.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/check.h"
#include "store/error.h"
#include "store/objects.h"

typedef struct {
        Check *check;
        int damaged_fd;   /* of DAMAGED_DIRECTORY */
        GHashTable *refs; /* to set: ref -> commit, "" drops */
        Objects *remade;  /* commits of chains, not yet promoted: until their refs are set nothing keeps them */
} Repair;

static gboolean set_aside(Repair *r, int dir_fd, const char *name, const char *to, GError **error) {
        if (renameat(dir_fd, name, r->damaged_fd, to) < 0 && errno != ENOENT)
                return store_fail_errno(error, errno, "Cannot move '%s' to the damaged", name);
        return TRUE;
}

/* A root file system of a chain, under a name that collection can read; an earlier one may still be in use. */
static gboolean set_aside_form(Repair *r, int dir_fd, const char *name, const char *hex, GError **error) {
        for (;;) {
                g_autofree char *to = g_strdup_printf("%08x-%s", g_random_int(), hex);

                if (renameat2(dir_fd, name, r->damaged_fd, to, RENAME_NOREPLACE) == 0 || errno == ENOENT)
                        return TRUE;
                if (errno != EEXIST)
                        return store_fail_errno(error, errno, "Cannot move '%s' to the damaged", name);
        }
}

static void drop(Repair *r, const char *prefix, const char *hex) {
        g_hash_table_insert(r->refs, g_strconcat(prefix, hex, NULL), g_strdup(""));
}

static void drop_all(Repair *r, const char *prefix, GHashTable *ids) {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, ids);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                drop(r, prefix, key);
}

/* ---- directories and commits ---- */

static gboolean is_metadata(const Damage *d) {
        return d->user && d->user->kind != OBJECT_FILE;
}

static gboolean put_aside_metadata(Repair *r, gboolean *ret_any, GError **error) {
        for (guint i = 0; i < r->check->damages->len; i++) {
                const Damage *d = r->check->damages->pdata[i];
                g_autofree char *to = NULL;
                char name[OBJECT_NAME];

                if (!is_metadata(d))
                        continue;
                *ret_any = TRUE;
                object_name(d->user->checksum, object_suffix(d->user->kind), name);
                to = g_strconcat(d->id, object_suffix(d->user->kind), NULL);
                if (!set_aside(r, r->check->store->objects_fd, name, to, error))
                        return FALSE;
        }
        return TRUE;
}

static void see_metadata(Repair *r) {
        for (guint i = 0; i < r->check->damages->len; i++) {
                Damage *d = r->check->damages->pdata[i];
                g_autoptr(GVariant) v = NULL;

                if (!is_metadata(d))
                        continue;
                v = object_load(r->check->store->objects_fd, d->user->kind, d->user->checksum, NULL);
                d->repaired = v != NULL;
        }
}

/* What the check has made again takes the place of what was put aside. */
static gboolean repair_metadata(Repair *r, GError **error) {
        gboolean any = FALSE, ok;

        if (!put_aside_metadata(r, &any, error))
                return FALSE;
        if (!any || !r->check->remade)
                return TRUE;
        if (!store_sync(r->check->store, error) || !store_lock(r->check->store, FALSE, error))
                return FALSE;
        ok = objects_promote(r->check->remade, error);
        store_unlock(r->check->store, FALSE);
        see_metadata(r);
        return ok;
}

/* ---- what is left ---- */

/* Root file systems are made again when they are needed, or are refused then. */
static gboolean drop_forms(Repair *r, const char *hex, GError **error) {
        g_autofree char *erofs = g_strconcat("erofs/", hex, NULL), *ref = g_strconcat(REF_EROFS, hex, NULL);

        if (g_hash_table_contains(r->check->refs, ref))
                drop(r, REF_EROFS, hex);
        return set_aside_form(r, r->check->store->checkouts_fd, hex, hex, error) &&
               set_aside_form(r, r->check->store->dir_fd, erofs, hex, error);
}

static gboolean drop_object(Repair *r, const Damage *d, GError **error) {
        char name[OBJECT_NAME], hex[DIGEST_HEX];
        g_autofree char *to = NULL;

        digest_hex(d->user->checksum, hex);
        to = g_strconcat(hex, object_suffix(d->user->kind), NULL);
        object_name(d->user->checksum, object_suffix(d->user->kind), name);
        drop_all(r, REF_LAYER, d->user->layers);
        drop_all(r, REF_SPLIT, d->user->layers);
        drop_all(r, REF_CONTENT, d->user->contents);
        drop_all(r, REF_EROFS, d->user->erofs);
        if (d->user->kind == OBJECT_COMMIT || d->user->kind == OBJECT_DIRTREE)
                drop_all(r, REF_CHAIN, d->user->chains);
        return set_aside(r, r->check->store->objects_fd, name, to, error);
}

/* What a damage that stays takes with it. */
static gboolean give_up(Repair *r, Damage *d, GError **error) {
        if (d->user && !drop_object(r, d, error))
                return FALSE;
        if (strcmp(d->kind, "ref") == 0)
                g_hash_table_insert(r->refs, g_strdup(d->id), g_strdup(""));
        if (strcmp(d->kind, "layer") == 0) {
                drop(r, REF_LAYER, d->id);
                drop(r, REF_SPLIT, d->id);
        }
        for (guint i = 0; i < d->chains->len; i++)
                if (!drop_forms(r, d->chains->pdata[i], error))
                        return FALSE;
        /* Nothing but the form was damaged. */
        d->repaired = strcmp(d->kind, "erofs") == 0 || strcmp(d->kind, "checkout") == 0;
        return TRUE;
}

static gboolean remake_chain(Repair *r, const char *hex) {
        char commit[DIGEST_HEX];

        if (!check_remake_chain(r->check, r->remade, hex, commit, NULL))
                return FALSE;
        g_hash_table_insert(r->refs, g_strconcat(REF_CHAIN, hex, NULL), g_strdup(commit));
        return TRUE;
}

/* A chain whose layers are sound is made again. */
static void remake_chains(Repair *r) {
        for (guint i = 0; i < r->check->damages->len; i++) {
                Damage *d = r->check->damages->pdata[i];
                g_autofree char *ref = g_strconcat(REF_CHAIN, d->id, NULL);

                if (strcmp(d->kind, "chain") == 0 && g_hash_table_contains(r->check->refs, ref))
                        d->repaired = remake_chain(r, d->id);
        }
}

static gboolean repair_locked(Repair *r, GError **error) {
        if (!objects_promote(r->remade, error))
                return FALSE;
        for (guint i = 0; i < r->check->damages->len; i++) {
                Damage *d = r->check->damages->pdata[i];

                if (!d->repaired && !give_up(r, d, error))
                        return FALSE;
        }
        return g_hash_table_size(r->refs) == 0 || store_set_refs(r->check->store, r->refs, error);
}

static gboolean repair(Repair *r, GError **error) {
        gboolean ok;

        if (!repair_copies(r->check, error) || !repair_metadata(r, error))
                return FALSE;
        r->remade = objects_new(r->check->job, r->check->store->objects_fd, r->check->ingest->stage_fd);
        remake_chains(r);
        if (!store_sync(r->check->store, error) || !store_lock(r->check->store, TRUE, error))
                return FALSE;
        ok = repair_locked(r, error);
        store_unlock(r->check->store, TRUE);
        return ok && store_sync(r->check->store, error);
}

/** check_repair() - put right what a check found damaged, or move it out of the way; sets Damage.repaired */
gboolean check_repair(Check *c, GError **error) {
        Repair r = { .check = c };
        gboolean ok;

        if (mkdirat(c->store->dir_fd, DAMAGED_DIRECTORY, 0700) < 0 && errno != EEXIST)
                return store_fail_errno(error, errno, "Cannot make a directory for what is damaged");
        r.damaged_fd = openat(c->store->dir_fd, DAMAGED_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (r.damaged_fd < 0)
                return store_fail_errno(error, errno, "Cannot open the directory for what is damaged");
        r.refs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        ok = repair(&r, error);
        g_clear_pointer(&r.remade, objects_free);
        g_hash_table_unref(r.refs);
        r.damaged_fd = safe_close(r.damaged_fd);
        return ok;
}
