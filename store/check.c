/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checking: everything in the store read back.
 *
 * First what the refs lead to, each object against its checksum; then, where all objects are sound, what they amount to
 * (check-chain.c). So one damaged object is one report, with the path at which it shows and the chains that suffer.
 * All refs are pinned while that goes on: no lock is held, imports and collections go on beside it.
 */

#include "store/check.h"

#include <string.h>

#include "store/error.h"
#include "store/request.h"
#include "store/verify.h"

#define THREADS 2U
#define BATCH 64U

/** check_report() - something is damaged; the report is the check's */
Damage *check_report(Check *c, const char *kind, const char *id, const char *why) {
        Damage *d = g_new0(Damage, 1);

        d->kind = kind;
        d->id = g_strdup(id);
        d->why = g_utf8_make_valid(why, -1);
        d->chains = g_ptr_array_new_with_free_func(g_free);
        d->contents = g_ptr_array_new_with_free_func(g_free);
        g_mutex_lock(&c->lock);
        g_ptr_array_add(c->damages, d);
        g_mutex_unlock(&c->lock);
        return d;
}

/** check_is_damage() - whether @why tells of the store, rather than of a lack of room, memory or descriptors
 *
 * Such a lack ends the check: what it hides must not be taken for damage, since a repair throws that away.
 */
gboolean check_is_damage(Check *c, const GError *why) {
        if (!g_error_matches(why, STORE_FAIL, STORE_FAIL_EXHAUSTED) &&
            !g_error_matches(why, STORE_FAIL, STORE_FAIL_CANCELLED))
                return TRUE;
        store_job_fail(c->job, g_error_copy(why));
        return FALSE;
}

static void damage_free(gpointer data) {
        Damage *d = data;

        g_free(d->id);
        g_free(d->path);
        g_free(d->why);
        g_ptr_array_unref(d->chains);
        g_ptr_array_unref(d->contents);
        g_free(d);
}

/** check_is_sound() - whether a ref is there and leads to nothing damaged */
gboolean check_is_sound(Check *c, const char *prefix, const char *hex) {
        g_autofree char *ref = g_strconcat(prefix, hex, NULL);
        const char *commit = g_hash_table_lookup(c->refs, ref);

        return commit && *commit && !g_hash_table_contains(c->affected, ref);
}

/* From here on collection keeps everything that is there. */
static gboolean pin_all(Check *c, GError **error) {
        GHashTableIter iter;
        gboolean ok;
        gpointer ref;

        if (!store_lock(c->store, FALSE, error))
                return FALSE;
        ok = store_refs(c->store, &c->refs, error);
        if (ok)
                g_hash_table_iter_init(&iter, c->refs);
        while (ok && g_hash_table_iter_next(&iter, &ref, NULL))
                ok = ingest_pin(c->ingest, ref, error);
        store_unlock(c->store, FALSE);
        return ok;
}

static void bad_object(void *data, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], const GError *why) {
        char hex[DIGEST_HEX];
        Check *c = data;

        if (!check_is_damage(c, why))
                return;
        digest_hex(checksum, hex);
        g_mutex_lock(&c->lock);
        if (mark_add(c->bad, kind, checksum))
                g_hash_table_insert(c->whys, g_strconcat(hex, object_suffix(kind), NULL), g_strdup(why->message));
        g_mutex_unlock(&c->lock);
}

/* Metadata has been read by marking; the rest is read by threads. */
typedef struct {
        Check *check;
        GArray *objects; /* Object */
        guint next;      /* atomic */
} Reading;

typedef struct {
        ObjectKind kind;
        guint8 checksum[DIGEST_SIZE];
} Object;

static void add_object(void *data, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]) {
        Reading *r = data;
        Object o = { .kind = kind };

        r->check->objects++;
        if (kind != OBJECT_FILE && kind != OBJECT_DIRMETA)
                return;
        memcpy(o.checksum, checksum, DIGEST_SIZE);
        g_array_append_val(r->objects, o);
}

static void read_one(Check *c, const Object *o) {
        g_autoptr(GError) why = NULL;
        guint64 bytes = 0;

        if (!verify_object(c->store->objects_fd, o->kind, o->checksum, &bytes, &why))
                bad_object(c, o->kind, o->checksum, why);
        __atomic_add_fetch(&c->bytes, bytes, __ATOMIC_RELAXED);
        __atomic_add_fetch(&c->job->bytes_in, bytes, __ATOMIC_RELAXED);
}

static gpointer reading_thread(gpointer data) {
        Reading *r = data;

        while (store_job_check(r->check->job, NULL)) {
                guint from = __atomic_fetch_add(&r->next, BATCH, __ATOMIC_RELAXED);

                if (from >= r->objects->len)
                        break;
                for (guint i = from; i < MIN(from + BATCH, r->objects->len); i++)
                        read_one(r->check, &g_array_index(r->objects, Object, i));
        }
        return NULL;
}

static void mark_refs(Check *c, Mark *mark, gboolean report) {
        gpointer ref, commit;
        GHashTableIter iter;

        mark_on_damaged(mark, bad_object, c);
        g_hash_table_iter_init(&iter, c->refs);
        while (g_hash_table_iter_next(&iter, &ref, &commit)) {
                g_autoptr(GError) why = NULL;
                guint8 checksum[DIGEST_SIZE];

                if (!digest_parse_hex(commit, checksum))
                        store_fail(&why, STORE_FAIL_INTERNAL, "The ref's file does not name a commit");
                else
                        (void)mark_commit(mark, checksum, &why);
                if (why && report)
                        (void)check_report(c, "ref", ref, why->message);
        }
}

/* All that the refs lead to; below what cannot be read, all that they should lead to. */
static Mark *mark_all(Check *c) {
        Mark *mark = mark_new(c->store->objects_fd);

        mark_refs(c, mark, TRUE);
        if (mark_size(c->bad) == 0)
                return mark;
        g_ptr_array_unref(users_find(c->store, -1, c->refs, c->bad, c->affected));
        check_remake(c);
        mark_free(mark);
        mark = mark_new(c->store->objects_fd);
        mark_fall_back(mark, c->ingest->stage_fd);
        mark_refs(c, mark, FALSE);
        return mark;
}

static gboolean check_objects(Check *c, GError **error) {
        g_autoptr(Mark) mark = mark_all(c);
        g_autoptr(GArray) objects = g_array_new(FALSE, FALSE, sizeof(Object));
        Reading r = { .check = c, .objects = objects };
        GThread *threads[THREADS];

        mark_foreach(mark, add_object, &r);
        for (guint i = 0; i < THREADS; i++)
                threads[i] = g_thread_new("check", reading_thread, &r);
        for (guint i = 0; i < THREADS; i++)
                (void)g_thread_join(threads[i]);
        return store_job_result(c->job, error);
}

static void copy_set(GHashTable *from, GPtrArray *to) {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, from);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_ptr_array_add(to, g_strdup(key));
}

/* An object that only one EROFS image is made of is that image's damage: it can be made again. */
static void report_object(Check *c, User *u) {
        char hex[DIGEST_HEX];
        g_autofree char *key = NULL;
        Damage *d;

        digest_hex(u->checksum, hex);
        key = g_strconcat(hex, object_suffix(u->kind), NULL);
        d = check_report(c, "object", hex, g_hash_table_lookup(c->whys, key));
        d->user = u;
        d->path = u->kind == OBJECT_FILE ? g_strdup(u->path) : NULL;
        copy_set(u->chains, d->chains);
        copy_set(u->contents, d->contents);
        if (g_hash_table_size(u->erofs) == 0 || d->chains->len > 0 || d->contents->len > 0)
                return;
        copy_set(u->erofs, d->chains);
        d->kind = "erofs";
        g_free(d->id);
        d->id = g_strdup(d->chains->pdata[0]);
}

static void find_users(Check *c) {
        c->users = users_find(c->store, c->remade ? c->ingest->stage_fd : -1, c->refs, c->bad, c->affected);
        for (guint i = 0; i < c->users->len; i++)
                report_object(c, c->users->pdata[i]);
}

/* What the manager's records name has to be there. */
static void check_roots(Check *c, GHashTable *ids, const char *prefix, const char *kind) {
        GHashTableIter iter;
        gpointer id;

        g_hash_table_iter_init(&iter, ids);
        while (g_hash_table_iter_next(&iter, &id, NULL)) {
                g_autofree char *ref = g_strconcat(prefix, id, NULL);
                Damage *d;

                if (g_hash_table_contains(c->refs, ref))
                        continue;
                d = check_report(c, kind, id, "It is not in the store");
                g_ptr_array_add(strcmp(kind, "chain") == 0 ? d->chains : d->contents, g_strdup(id));
        }
}

static JsonArray *id_array(GPtrArray *ids) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < ids->len; i++) {
                g_autofree char *id = g_strconcat("sha256:", ids->pdata[i], NULL);

                json_array_add_string_element(array, id);
        }
        return array;
}

static JsonObject *damage_object(const Damage *d) {
        gboolean digest = strcmp(d->kind, "object") != 0 && strcmp(d->kind, "ref") != 0;
        g_autofree char *id = g_strconcat(digest ? "sha256:" : "", d->id, NULL);
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "kind", d->kind);
        json_object_set_string_member(o, "id", id);
        if (d->path)
                json_object_set_string_member(o, "path", d->path);
        json_object_set_string_member(o, "why", d->why);
        json_object_set_array_member(o, "chains", id_array(d->chains));
        json_object_set_array_member(o, "contents", id_array(d->contents));
        json_object_set_boolean_member(o, "repaired", d->repaired);
        return o;
}

static JsonNode *check_result(Check *c) {
        JsonArray *damaged = json_array_new();
        JsonObject *o = json_object_new();

        for (guint i = 0; i < c->damages->len; i++)
                json_array_add_object_element(damaged, damage_object(c->damages->pdata[i]));
        json_object_set_int_member(o, "objects", (gint64)c->objects);
        json_object_set_int_member(o, "bytes", (gint64)c->bytes);
        json_object_set_array_member(o, "damaged", damaged);
        return request_object(o);
}

static gboolean check_all(Check *c, const Roots *roots, GError **error) {
        c->ingest = ingest_begin(c->store, error);
        if (!c->ingest || !pin_all(c, error) || !check_objects(c, error))
                return FALSE;
        find_users(c);
        check_roots(c, roots->chains, REF_CHAIN, "chain");
        check_roots(c, roots->contents, REF_CONTENT, "content");
        return check_layers(c, error) && check_chains(c, error);
}

/** store_check() - read everything back; @roots have to be there
 *
 * @repair: what is damaged is put right where a second copy is found, and put aside where not.
 */
JsonNode *store_check(Store *s, StoreJob *job, gboolean repair, const Roots *roots, GError **error) {
        Check c = { .store = s, .job = job };
        JsonNode *result = NULL;

        /* What is in the store has been let in once. */
        store_limits_lift(&job->limits);
        job->limits.entries = job->limits.bytes = G_MAXUINT64; /* of all layers together */
        g_mutex_init(&c.lock);
        c.affected = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        c.whys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        c.bad = mark_new(s->objects_fd);
        c.damages = g_ptr_array_new_with_free_func(damage_free);
        if (check_all(&c, roots, error) && (!repair || c.damages->len == 0 || check_repair(&c, error)))
                result = check_result(&c);
        g_clear_pointer(&c.remade, objects_free);
        g_clear_pointer(&c.ingest, ingest_end);
        g_clear_pointer(&c.users, g_ptr_array_unref);
        g_clear_pointer(&c.refs, g_hash_table_unref);
        g_ptr_array_unref(c.damages);
        mark_free(c.bad);
        g_hash_table_unref(c.whys);
        g_hash_table_unref(c.affected);
        g_mutex_clear(&c.lock);
        return result;
}

static void add_set(GHashTable *to, GHashTable *from) {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, from);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                g_hash_table_add(to, key);
}

static void why_chains(const User *u, GHashTable *to) {
        add_set(to, u->chains);
        add_set(to, u->erofs);
}

static void why_contents(const User *u, GHashTable *to) {
        add_set(to, u->contents);
}

static void why_layers(const User *u, GHashTable *to) {
        add_set(to, u->layers);
}

static JsonArray *union_array(GPtrArray *users, void (*add)(const User *u, GHashTable *to)) {
        g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GHashTable) set = g_hash_table_new(g_str_hash, g_str_equal);

        for (guint i = 0; i < users->len; i++)
                add(users->pdata[i], set);
        copy_set(set, ids);
        return id_array(ids);
}

/** store_why() - what leads to an object, whatever its kind: {"chains","contents","layers"} */
JsonNode *store_why(Store *s, const guint8 checksum[DIGEST_SIZE], GError **error) {
        g_autoptr(Mark) wanted = mark_new(s->objects_fd);
        g_autoptr(GHashTable) refs = NULL;
        g_autoptr(GPtrArray) users = NULL;
        JsonObject *o;

        for (ObjectKind k = 0; k < _OBJECT_MAX; k++)
                (void)mark_add(wanted, k, checksum);
        if (!store_lock(s, FALSE, error))
                return NULL;
        if (store_refs(s, &refs, error))
                users = users_find(s, -1, refs, wanted, NULL);
        store_unlock(s, FALSE);
        if (!users)
                return NULL;
        o = json_object_new();
        json_object_set_array_member(o, "chains", union_array(users, why_chains));
        json_object_set_array_member(o, "contents", union_array(users, why_contents));
        json_object_set_array_member(o, "layers", union_array(users, why_layers));
        return request_object(o);
}
