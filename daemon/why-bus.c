/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Manager.WhyKept: who needs something, so that nobody has to guess why it does not go.
 *
 * The walk over the roots that a collection is told answers for chains and contents; what a layer is part of is in the
 * records of images, what an object is part of only the store knows. Images and snapshots are kept by whoever uses
 * them.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/manager-bus.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/snapshot.h"
#include "daemon/store-client.h"
#include "shared/image-name.h"
#include "shared/macros.h"

/* Reasons, each once: "type\nnamespace\nid". */
typedef struct Reasons {
        GHashTable *set;
        RootKind kind;
        const char *target;
} Reasons;

static void add(Reasons *r, const char *type, const char *ns, const char *id) {
        g_hash_table_add(r->set, g_strjoin("\n", type, ns, id, NULL));
}

static void on_root(RootKind kind, const char *target, const RootReason *why, void *userdata) {
        Reasons *r = userdata;

        if (kind == r->kind && streq(target, r->target))
                add(r, why->type, why->ns, why->id);
}

static void add_roots(Manager *m, Reasons *r, RootKind kind, const char *target) {
        r->kind = kind;
        r->target = target;
        roots_visit(m, on_root, r);
}

static bool has_layer(const ImageRecord *record, const char *id) {
        for (guint i = 0; i < record->layers->len; i++) {
                const ImageLayer *l = &g_array_index(record->layers, ImageLayer, i);

                if (streq(l->diff_id, id) || streq(l->digest, id))
                        return true;
        }
        for (guint i = 0; record->platforms && i < record->platforms->len; i++)
                if (has_layer(g_ptr_array_index(record->platforms, i), id))
                        return true;
        return false;
}

/* Whoever needs a chain that an image with this layer is, or a committed snapshot that added it. */
static void add_layer(Manager *m, Reasons *r, const char *id) {
        Snapshot *snapshot;
        Image *image;
        ObjectWalk w;

        for (object_walk_init(&w, m, offsetof(Namespace, images)); (image = object_walk_next(&w));)
                if (has_layer(image->record, id))
                        add_roots(m, r, ROOT_CHAIN, image->record->chain_id);
        for (object_walk_init(&w, m, offsetof(Namespace, snapshots)); (snapshot = object_walk_next(&w));)
                if (streq(snapshot->diff_id, id))
                        add_roots(m, r, ROOT_CHAIN, snapshot->chain_id);
}

static int add_image(Namespace *ns, Reasons *r, const char *name, sd_bus_error *error) {
        const Lease *lease;
        const char *user;
        Image *image;
        int q;

        q = image_lookup(ns, name, &image, error);
        if (q < 0)
                return q;
        name = image->record->name;
        user = image_user(image);
        if (user)
                add(r, "container", ns->name, user);
        lease = lease_of(ns, "image", name);
        if (lease)
                add(r, "lease", ns->name, lease->id);
        if (image->record->pinned)
                add(r, "image", ns->name, name);
        return 0;
}

static int add_snapshot(Namespace *ns, Reasons *r, const char *key, sd_bus_error *error) {
        const Snapshot *s = snapshot_find(ns, key);
        const char *user, *child;
        const Lease *lease;

        if (!s)
                return error_not_found(error, "There is no snapshot \"%s\" in namespace \"%s\".", key, ns->name);
        user = snapshot_user(s);
        if (user)
                add(r, "container", ns->name, user);
        child = snapshot_child(s);
        if (child)
                add(r, "snapshot", ns->name, child);
        lease = lease_of(ns, "snapshot", key);
        if (lease)
                add(r, "lease", ns->name, lease->id);
        return 0;
}

static int reply(sd_bus_message *call, const Reasons *reasons) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;
        GHashTableIter iter;
        void *key;
        int r;

        r = sd_bus_message_new_method_return(call, &m);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        g_hash_table_iter_init(&iter, reasons->set);
        while (r >= 0 && g_hash_table_iter_next(&iter, &key, NULL)) {
                g_auto(GStrv) v = g_strsplit(key, "\n", 3);

                r = sd_bus_message_append(m, "(sss)", v[0], v[1], v[2]);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

/* ---- objects ---- */

typedef struct Question {
        Manager *manager;
        sd_bus_message *call;
} Question;

static void add_all(Manager *m, Reasons *r, JsonObject *o, const char *member, RootKind kind) {
        g_auto(GStrv) v = NULL;

        if (record_get_strv(o, member, &v) < 0)
                return;
        for (char **p = v; *p; p++)
                add_roots(m, r, kind, *p);
}

static void on_answer(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        g_autoptr(GHashTable) set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autofree Question *q = userdata;
        Reasons reasons = { .set = set };

        if (error) {
                bus_reply_error(&q->call, -EIO, error);
                return;
        }
        add_all(q->manager, &reasons, o, "chains", ROOT_CHAIN);
        add_all(q->manager, &reasons, o, "contents", ROOT_CONTENT);
        (void)reply(q->call, &reasons);
        sd_bus_message_unref(q->call);
}

static int ask_store(Manager *m, sd_bus_message *call, const char *id, sd_bus_error *error) {
        static const StoreHandlers handlers = { .done = on_answer };
        g_autoptr(JsonObject) request = json_object_new();
        Question *q;
        StoreOp *op;
        int r;

        if (strlen(id) != 64 || strspn(id, "0123456789abcdef") != 64)
                return error_invalid(error, "\"%s\" is no object of the repository: 64 hexadecimal digits.", id);
        json_object_set_string_member(request, "operation", "why");
        json_object_set_string_member(request, "object", id);
        q = g_new(Question, 1);
        *q = (Question){ m, sd_bus_message_ref(call) };
        r = store_op_start(m->event, request, NULL, 0, &handlers, q, &op, error);
        if (r < 0) {
                sd_bus_message_unref(q->call);
                g_free(q);
                return r;
        }
        return 1;
}

/** method_why_kept() - Manager.WhyKept */
int method_why_kept(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autoptr(GHashTable) set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        const char *ns_name, *type, *id;
        Reasons reasons = { .set = set };
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "sss", &ns_name, &type, &id);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r < 0)
                return r;
        if (streq(type, "object"))
                return ask_store(userdata, m, id, error);
        if (streq(type, "image"))
                r = add_image(ns, &reasons, id, error);
        else if (streq(type, "snapshot"))
                r = add_snapshot(ns, &reasons, id, error);
        else if (!streq(type, "chain") && !streq(type, "layer") && !streq(type, "content"))
                r = error_invalid(error, "Type is \"%s\"; it takes image, chain, layer, content, snapshot and object.",
                                  type);
        else if (!digest_valid(id))
                r = error_invalid(error, "\"%s\" is no %s: \"sha256:\" with 64 hexadecimal digits.", id, type);
        else if (streq(type, "layer"))
                add_layer(userdata, &reasons, id);
        else
                add_roots(userdata, &reasons, streq(type, "chain") ? ROOT_CHAIN : ROOT_CONTENT, id);
        return r < 0 ? r : reply(m, &reasons);
}
