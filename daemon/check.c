/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Manager.CheckStore: everything is read back, in the store by a worker and here the records.
 *
 * The worker is told what has to be there and says what is damaged, in chains and contents; here those become the
 * images that use them. Records are read again from disk and held against what is known in memory; directories of
 * snapshots have to be there. Nothing of davitd's own is repaired: what is missing of it nobody can make up.
 */

#include <dirent.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"
#include "daemon/manager-bus.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/snapshot-dir.h"
#include "daemon/store-job.h"
#include "shared/fd.h"
#include "shared/macros.h"

#define DAMAGED_TYPE "a(ssssasb)"
#define RECORDS_TYPE "a(ss)"

/* ---- records ---- */

static const struct {
        const char *kind;
        size_t table; /* in Namespace: where what a record describes has to be */
} kinds[] = {
        { "containers", offsetof(Namespace, containers) }, { "contents", offsetof(Namespace, contents) },
        { "images", offsetof(Namespace, images) },         { "leases", offsetof(Namespace, leases) },
        { "snapshots", offsetof(Namespace, snapshots) },   { "tasks", offsetof(Namespace, tasks) },
};

static void broken(GVariantBuilder *b, const char *ns, const char *kind, const char *file, const char *why) {
        g_autofree char *record = g_strdup_printf("namespaces/%s/%s/%s", ns, kind, file);

        g_variant_builder_add(b, "(ss)", record, why);
}

typedef struct Reading {
        GHashTable *seen; /* file names that hold a whole record of something that is known */
        GHashTable *table;
        bool all; /* a whole record is enough */
} Reading;

static int on_record(const char *name, JsonObject *o _unused_, void *userdata) {
        Reading *r = userdata;

        if (r->all || g_hash_table_contains(r->table, name))
                g_hash_table_add(r->seen, record_file_name(name));
        return 0;
}

/* Every file of a kind has to be whole and of something that is known. */
static void check_kind(Namespace *ns, int root_fd, size_t k, GVariantBuilder *b) {
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autofree char *path = g_strdup_printf("namespaces/%s/%s", ns->name, kinds[k].kind);
        Reading reading = { seen, *(GHashTable **)((char *)ns + kinds[k].table), false };
        struct dirent *de;
        DIR *dir;

        if (reading.table == ns->tasks) /* where its container's is the broken one it has no task */
                reading.all = ns->containers_broken;
        (void)record_foreach(root_fd, ns->name, kinds[k].kind, on_record, &reading);
        if (dir_stream_at(root_fd, path, &dir) < 0)
                return;
        while ((de = readdir(dir))) {
                g_autofree char *base = g_str_has_suffix(de->d_name, ".json")
                                                ? g_strndup(de->d_name, strlen(de->d_name) - strlen(".json"))
                                                : NULL;

                if (base && de->d_name[0] != '.' && !g_hash_table_contains(seen, base))
                        broken(b, ns->name, kinds[k].kind, de->d_name,
                               "it cannot be read; put it right or remove it, then restart davitd");
        }
        (void)closedir(dir);
}

static void check_snapshots(Namespace *ns, GVariantBuilder *b) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;

                if (*s->dir && !snapshot_dir_whole(ns->manager, s->dir))
                        broken(b, ns->name, "snapshots", s->key, "its directories are missing; delete the snapshot");
                if (*s->parent_key && !g_hash_table_contains(ns->snapshots, s->parent_key))
                        broken(b, ns->name, "snapshots", s->key, "the snapshot it was made from is missing");
        }
        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;

                if (c->snapshot_key && *c->snapshot_key && !g_hash_table_contains(ns->snapshots, c->snapshot_key))
                        broken(b, ns->name, "containers", c->id, "its snapshot is missing; delete the container");
        }
}

static void check_checkpoints(Namespace *ns, GVariantBuilder *b) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;

                for (guint i = 0; c->checkpoints && i < c->checkpoints->len; i++) {
                        const Checkpoint *k = g_ptr_array_index(c->checkpoints, i);
                        g_autofree char *record = g_strdup_printf("checkpoints/%s/%s/%s", ns->name, c->id, k->name);
                        _cleanup_close_ int images = checkpoint_dir_open_images(c, k->name);

                        if (!k->usable || images < 0)
                                g_variant_builder_add(b, "(ss)", record,
                                                      k->usable ? "its images are missing; delete it"
                                                                : "its record cannot be read; delete it");
                }
        }
}

static GVariant *check_records(Manager *m) {
        GVariantBuilder b;
        GHashTableIter iter;
        void *ns;

        g_variant_builder_init(&b, G_VARIANT_TYPE(RECORDS_TYPE));
        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns)) {
                for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                        check_kind(ns, m->state_fd, k, &b);
                        check_kind(ns, m->runtime_fd, k, &b);
                }
                check_snapshots(ns, &b);
                check_checkpoints(ns, &b);
        }
        return g_variant_builder_end(&b);
}

/* ---- the store ---- */

typedef struct Users {
        RootKind kind;
        char **ids;
        GHashTable *names; /* "ns/name", owned */
} Users;

static void on_root(RootKind kind, const char *target, const RootReason *why, void *userdata) {
        Users *u = userdata;

        if (kind == u->kind && streq(why->type, "image") && g_strv_contains((const char *const *)u->ids, target))
                g_hash_table_add(u->names, g_strdup_printf("%s/%s", why->ns, why->id));
}

static GVariant *users_of(Manager *m, JsonObject *o) {
        g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        static const char *const members[] = { [ROOT_CHAIN] = "chains", [ROOT_CONTENT] = "contents" };
        g_autofree const char **v = NULL;

        for (RootKind k = ROOT_CHAIN; k <= ROOT_CONTENT; k++) {
                g_auto(GStrv) ids = NULL;

                if (record_get_strv(o, members[k], &ids) >= 0)
                        roots_visit(m, on_root, &(Users){ k, ids, names });
        }
        v = (const char **)g_hash_table_get_keys_as_array(names, NULL);
        return g_variant_new_strv(v, -1);
}

static const char *text_of(JsonObject *o, const char *member) {
        const char *s;

        return record_get_string(o, member, &s) >= 0 && g_utf8_validate(s, -1, NULL) ? s : "";
}

static void add_damaged(Manager *m, JsonObject *o, GVariantBuilder *b) {
        JsonNode *repaired = json_object_get_member(o, "repaired");

        g_variant_builder_add(b, "(ssss@asb)", text_of(o, "kind"), text_of(o, "id"), text_of(o, "path"),
                              text_of(o, "why"), users_of(m, o),
                              repaired && json_node_get_value_type(repaired) == G_TYPE_BOOLEAN &&
                                      json_node_get_boolean(repaired));
}

static int accept_check(JsonObject *o, void *userdata, GVariant **ret, sd_bus_error *error) {
        JsonNode *node = json_object_get_member(o, "damaged");
        uint64_t objects, bytes;
        Manager *m = userdata;
        GVariantBuilder b;
        GVariantDict dict;
        JsonArray *array;

        if (!node || !JSON_NODE_HOLDS_ARRAY(node) || record_get_u64(o, "objects", &objects) < 0 ||
            record_get_u64(o, "bytes", &bytes) < 0)
                return error_internal(error, "The store worker's account of the check cannot be used.");
        if (sync_settle(m->sync, NULL) < 0) /* what is just going is not broken */
                return error_unavailable(error, "What is being removed does not go: the disk does not answer.");
        array = json_node_get_array(node);
        g_variant_builder_init(&b, G_VARIANT_TYPE(DAMAGED_TYPE));
        for (guint i = 0; i < json_array_get_length(array); i++) {
                JsonNode *e = json_array_get_element(array, i);

                if (JSON_NODE_HOLDS_OBJECT(e))
                        add_damaged(m, json_node_get_object(e), &b);
        }
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Objects", "t", objects);
        g_variant_dict_insert(&dict, "Bytes", "t", bytes);
        g_variant_dict_insert_value(&dict, "Damaged", g_variant_builder_end(&b));
        g_variant_dict_insert_value(&dict, "Records", check_records(m));
        *ret = g_variant_ref_sink(g_variant_dict_end(&dict));
        return 0;
}

typedef struct CheckOptions {
        int repair;
} CheckOptions;

/** method_check_store() - Manager.CheckStore */
int method_check_store(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = { { "Repair", "b", offsetof(CheckOptions, repair), 1, NULL } };
        g_autoptr(JsonObject) request = NULL;
        CheckOptions options = { 0 };
        Manager *manager = userdata;
        StoreWork work = { .ns = "", .type = "check", .subject = "store", .accept = accept_check, .userdata = manager };
        Job *job;
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, &options, error);
        if (r < 0)
                return r;
        request = roots_to_json(manager);
        json_object_set_string_member(request, "operation", "check");
        json_object_set_boolean_member(request, "repair", options.repair);
        work.request = request;
        r = store_job_begin(manager->store_jobs, &work, &job, error);
        if (r < 0)
                return r;
        return job_bus_reply_path(job, m);
}
