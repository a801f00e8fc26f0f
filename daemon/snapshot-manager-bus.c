/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The Manager's methods about snapshots: PrepareSnapshot, GetSnapshot, ListSnapshots.
 *
 * A new snapshot is made at once where its parent is known from a record. A chain id that no record names may still be
 * in the store, kept by a lease: a worker is asked for its root directory first, and the chain is held meanwhile.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/chain.h"
#include "daemon/error.h"
#include "daemon/lease.h"
#include "daemon/objects.h"
#include "daemon/roots.h"
#include "daemon/snapshot-bus.h"
#include "daemon/store-client.h"
#include "shared/macros.h"

/* ---- PrepareSnapshot ---- */

typedef struct Prepare {
        Manager *manager;
        sd_bus_message *call;
        char *ns, *key, *lease, *rootfs;
        SnapshotBase base;
        int view;
        GHashTable *labels;
        RootHold *hold;
} Prepare;

static void prepare_free(Prepare *p) {
        (void)root_hold_free(p->hold);
        snapshot_base_done(&p->base);
        if (p->labels)
                g_hash_table_unref(p->labels);
        if (p->call)
                sd_bus_message_unref(p->call);
        g_free(p->ns);
        g_free(p->key);
        g_free(p->lease);
        g_free(p->rootfs);
        g_free(p);
}

static void prepare_freep(Prepare **p) {
        if (*p)
                prepare_free(*p);
}

static int finish_prepare(Prepare *p, sd_bus_error *error) {
        const SnapshotOptions options = {
                .kind = p->view ? SNAPSHOT_VIEW : SNAPSHOT_ACTIVE,
                .labels = p->labels,
                .rootfs = p->rootfs ? chain_kind(p->rootfs) : NULL,
        };
        Namespace *ns;
        Snapshot *s;
        int r;

        r = manager_namespace(p->manager, p->ns, true, &ns, error);
        if (r >= 0)
                r = snapshot_make(ns, p->key, &p->base, &options, &s, error);
        if (r < 0)
                return r;
        lease_add_late(p->manager, ns->name, p->lease, "snapshot", s->key, NULL);
        return sd_bus_reply_method_return(p->call, "o", s->path);
}

static void on_root_known(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        _cleanup_(prepare_freep) Prepare *p = userdata;
        int r = 0;

        if (!error) {
                r = snapshot_root_parse(o, &p->base.root);
                if (r < 0)
                        r = error_internal(&failure, "The store worker's account of the chain cannot be used.");
                else
                        r = finish_prepare(p, &failure);
        }
        if (error || r < 0)
                bus_reply_error(&p->call, r, error ?: &failure);
}

static int ask_root(Prepare *p, sd_bus_error *error) {
        static const StoreHandlers handlers = { .done = on_root_known };
        g_autoptr(JsonObject) request = json_object_new();
        ChainForm form;
        StoreOp *op;

        p->hold = root_hold_new(p->manager, ROOT_CHAIN, p->base.chain_id);
        json_object_set_string_member(request, "operation", "rootfs");
        json_object_set_string_member(request, "chain_id", p->base.chain_id);
        chain_form(p->manager, &form);
        json_object_set_string_member(request, "rootfs", chain_form_word(&form));
        return store_op_start(p->manager->event, request, NULL, 0, &handlers, p, &op, error);
}

/* All that can be said without the store. */
static int check_prepare(Prepare *p, const char *parent, sd_bus_error *error) {
        Namespace *ns = NULL;
        Lease *lease;
        int r;

        if (p->rootfs && !streq(p->rootfs, "auto") && !chain_kind(p->rootfs))
                return error_invalid(error, "RootFilesystem \"%s\" is not known; it is one of auto, erofs, checkout.",
                                     p->rootfs);
        r = manager_namespace(p->manager, p->ns, true, &ns, error);
        if (r >= 0)
                r = snapshot_check_new(ns, p->key, error);
        if (r >= 0 && p->lease)
                r = lease_find(ns, p->lease, &lease, error);
        if (r >= 0)
                r = snapshot_base_resolve(ns, parent, &p->base, error);
        return r < 0 && ns ? namespace_settle(ns, r) : r;
}

/** method_prepare_snapshot() - Manager.PrepareSnapshot */
int method_prepare_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "View", "b", offsetof(Prepare, view), 1, NULL },
                { "Labels", "a{ss}", offsetof(Prepare, labels), 1, NULL },
                { "Lease", "s", offsetof(Prepare, lease), 1, bus_read_named },
                { "RootFilesystem", "s", offsetof(Prepare, rootfs), 1, NULL },
        };
        _cleanup_(prepare_freep) Prepare *p = g_new0(Prepare, 1);
        const char *ns, *key, *parent;
        int r;

        p->manager = userdata;
        p->call = sd_bus_message_ref(m);
        r = sd_bus_message_read(m, "sss", &ns, &key, &parent);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, p, error);
        if (r < 0)
                return r;
        p->ns = g_strdup(ns);
        p->key = g_strdup(key);
        r = check_prepare(p, parent, error);
        if (r == 0)
                return finish_prepare(p, error);
        if (r > 0)
                r = ask_root(p, error);
        if (r < 0)
                return r;
        (void)g_steal_pointer(&p); /* the operation's */
        return 1;
}

/* ---- GetSnapshot, ListSnapshots ---- */

/** method_get_snapshot() - Manager.GetSnapshot */
int method_get_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns, *key;
        void *s;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &key);
        if (r >= 0)
                r = object_find(userdata, &snapshot_objects, ns, key, &s, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", ((Snapshot *)s)->path);
}

typedef struct Filters {
        char **keys, **labels;
        char *kind, *parent;
} Filters;

/* Parent: a key, a chain id, or "" for what stands on nothing. */
static bool wanted(const void *object, const void *filters) {
        const Snapshot *s = object;
        const Filters *f = filters;

        if (f->kind && !streq(f->kind, snapshot_kind_name(s->kind)))
                return false;
        if (f->parent && !streq(f->parent, s->parent) && !(*f->parent && streq(f->parent, s->parent_key)))
                return false;
        return object_named(s->key, f->keys) && bus_labels_match(s->labels, f->labels);
}

static int append(sd_bus_message *reply, const void *object) {
        const Snapshot *s = object;

        return sd_bus_message_append(reply, "ssssto", s->ns->name, s->key, snapshot_kind_name(s->kind), s->parent,
                                     s->created, s->path);
}

/** method_list_snapshots() - Manager.ListSnapshots */
int method_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Key", "as", offsetof(Filters, keys), 1, bus_read_named },
                { "Kind", "s", offsetof(Filters, kind), 1, bus_read_named },
                { "Label", "as", offsetof(Filters, labels), 1, bus_read_named },
                { "Parent", "s", offsetof(Filters, parent), 1, NULL },
        };
        static const ObjectList list = { &snapshot_objects, table, ELEMENTSOF(table), "ssssto", wanted, append };
        Filters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
}
