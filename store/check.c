/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checking: everything in the store read back, against the checksum it goes by.
 *
 * All refs are pinned while that goes on, so no lock is held. An object is damaged by itself; a layer that cannot be put
 * together again from sound objects is damaged too.
 */

#include <fcntl.h>
#include <string.h>

#include "store/collect.h"
#include "store/error.h"
#include "store/mark.h"
#include "store/request.h"
#include "store/split.h"

typedef struct {
        Store *store;
        StoreJob *job;
        JsonArray *damaged;
        GHashTable *seen;
        guint64 objects;
} Check;

static void report(Check *c, const char *kind, const char *id, const char *why) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "kind", kind);
        json_object_set_string_member(o, "id", id);
        json_object_set_string_member(o, "why", why);
        json_object_set_boolean_member(o, "repaired", FALSE);
        json_array_add_object_element(c->damaged, o);
}

static gboolean check_commit(Check *c, const char *ref, const char *commit, GError **error) {
        g_autoptr(GHashTable) reachable = NULL;
        g_autoptr(GError) failure = NULL;
        GHashTableIter iter;
        gpointer key;

        if (!ostree_repo_traverse_commit(c->store->repo, commit, 0, &reachable, NULL, &failure)) {
                report(c, "ref", ref, failure->message);
                return TRUE;
        }
        g_hash_table_iter_init(&iter, reachable);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
                g_autoptr(GError) why = NULL;
                const char *checksum;
                OstreeObjectType type;

                ostree_object_name_deserialize(key, &checksum, &type);
                if (!g_hash_table_add(c->seen, g_strdup_printf("%s.%d", checksum, (int)type)))
                        continue;
                if (!store_job_check(c->job, error))
                        return FALSE;
                c->objects++;
                if (!ostree_repo_fsck_object(c->store->repo, type, checksum, NULL, &why))
                        report(c, "object", checksum, why->message);
        }
        return TRUE;
}

static int check_open(void *userdata, const guint8 checksum[DIGEST_SIZE]) {
        const Store *s = userdata;
        char name[OBJECT_NAME];

        object_name(checksum, ".file", name);
        return openat(s->objects_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* Puts the layer's tar together again: it has to have the digest it came with. */
static gboolean check_layer(Check *c, const char *hex, GError **error) {
        g_auto(Split) split = { NULL };
        g_auto(Digest) d = { NULL };
        g_autoptr(Stream) stream = NULL;
        guint8 expected[DIGEST_SIZE], got[DIGEST_SIZE];

        if (!digest_parse_hex(hex, expected) || !store_load_split(c->store, expected, &split, error))
                return FALSE;
        digest_init(&d);
        stream = stream_new_digest(split_stream_new(c->job, &split, check_open, c->store), &d, NULL);
        if (!stream_drain(stream, error))
                return FALSE;
        digest_final(&d, got);
        return memcmp(expected, got, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "It cannot be put together again");
}

static gboolean check_refs(Check *c, GError **error) {
        g_autoptr(GHashTable) refs = NULL;
        GHashTableIter iter;
        gpointer ref, commit;

        if (!ostree_repo_list_refs_ext(c->store->repo, NULL, &refs, OSTREE_REPO_LIST_REFS_EXT_NONE, NULL, error))
                return FALSE;
        g_hash_table_iter_init(&iter, refs);
        while (g_hash_table_iter_next(&iter, &ref, &commit)) {
                guint before = json_array_get_length(c->damaged);
                g_autoptr(GError) why = NULL;

                if (!check_commit(c, ref, commit, error))
                        return FALSE;
                if (g_str_has_prefix(ref, REF_LAYER) && before == json_array_get_length(c->damaged) &&
                    !check_layer(c, strrchr(ref, '/') + 1, &why))
                        report(c, "layer", strrchr(ref, '/') + 1, why->message);
        }
        return TRUE;
}

/** store_check() - read everything back */
JsonNode *store_check(Store *s, StoreJob *job, gboolean repair G_GNUC_UNUSED, const Roots *roots G_GNUC_UNUSED,
                      GError **error) {
        Check c = { .store = s, .job = job };
        JsonNode *result = NULL;

        c.damaged = json_array_new();
        c.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        if (check_refs(&c, error)) {
                JsonObject *o = json_object_new();

                json_object_set_int_member(o, "objects", (gint64)c.objects);
                json_object_set_array_member(o, "damaged", json_array_ref(c.damaged));
                result = request_object(o);
        }
        json_array_unref(c.damaged);
        g_hash_table_unref(c.seen);
        return result;
}
