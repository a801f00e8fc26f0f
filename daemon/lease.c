/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Leases of a namespace: records, their end, and what they name.
 *
 * A lease is a root like an image: chains and contents it names stay, and so do the chains and contents of images and
 * snapshots it names. It ends when it is deleted, when its time is over (also while nobody calls, and over restarts),
 * or when the connection that made it leaves the bus; every end makes a collection due. An owner is watched by its
 * unique name; whether it is still there after a restart is asked for without waiting, and the name of another bus is
 * nobody.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/record.h"
#include "daemon/snapshot.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/process.h"

#define KIND "leases"
#define EXPIRE_MAX_USEC (UINT64_C(1) << 52) /* 142 years */
#define RESOURCE_ID_MAX 1024U

static void lease_free(void *p) {
        Lease *l = p;

        sd_event_source_disable_unref(l->timer);
        sd_bus_slot_unref(l->watch);
        sd_bus_slot_unref(l->ask);
        g_hash_table_unref(l->labels);
        g_hash_table_unref(l->resources);
        g_free(l->id);
        g_free(l->path);
        g_free(l->owner);
        g_free(l->bus);
        g_free(l);
}

/** leases_init() - an empty table */
void leases_init(Namespace *ns) {
        ns->leases = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, lease_free);
}

/** leases_done() - drops the table; the records stay */
void leases_done(Namespace *ns) {
        g_clear_pointer(&ns->leases, g_hash_table_unref);
}

/* ---- records ---- */

static JsonArray *resources_to_json(GHashTable *resources) {
        JsonArray *array = json_array_new();
        GHashTableIter iter;
        void *key;

        g_hash_table_iter_init(&iter, resources);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                json_array_add_string_element(array, key);
        return array;
}

static int lease_save(const Lease *l) {
        g_autoptr(JsonObject) o = json_object_new();

        json_object_set_string_member(o, "owner", l->owner);
        json_object_set_string_member(o, "bus", l->bus);
        json_object_set_int_member(o, "created", (gint64)l->created);
        json_object_set_int_member(o, "expires", (gint64)l->expires);
        record_set_labels(o, "labels", l->labels);
        json_object_set_array_member(o, "resources", resources_to_json(l->resources));
        return record_write(l->ns->manager->state_fd, l->ns->name, KIND, l->id, o, true);
}

static Lease *lease_new(Namespace *ns, const char *id, const char *owner, const char *bus) {
        Lease *l = g_new0(Lease, 1);

        l->ns = ns;
        l->id = g_strdup(id);
        l->path = bus_object_path(ns->name, "lease", id);
        l->owner = g_strdup(owner);
        l->bus = g_strdup(bus);
        l->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        l->resources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        return l;
}

static int read_resources(Lease *l, JsonObject *o) {
        g_auto(GStrv) v = NULL;
        int r;

        r = record_get_strv(o, "resources", &v);
        for (char **p = v; r >= 0 && *p; p++)
                if (strchr(*p, '\n'))
                        g_hash_table_add(l->resources, g_strdup(*p));
                else
                        r = -EBADMSG;
        return r;
}

static int begin_watch(Lease *l);

static int load_one(const char *id, JsonObject *o, void *userdata) {
        const char *owner, *bus;
        Namespace *ns = userdata;
        GHashTable *labels;
        Lease *l;
        int r;

        r = record_get_string(o, "owner", &owner);
        if (r >= 0)
                r = record_get_string(o, "bus", &bus);
        if (r >= 0)
                r = record_get_labels(o, "labels", &labels);
        if (r < 0)
                return r;

        l = lease_new(ns, id, owner, bus);
        g_hash_table_unref(l->labels);
        l->labels = labels;
        r = record_get_u64(o, "created", &l->created);
        if (r >= 0)
                r = record_get_u64(o, "expires", &l->expires);
        if (r >= 0)
                r = read_resources(l, o);
        if (r >= 0 && !name_id_valid(id))
                r = -EBADMSG;
        if (r < 0) {
                lease_free(l);
                return r;
        }
        g_hash_table_insert(ns->leases, l->id, l);
        (void)begin_watch(l);
        return 0;
}

/** leases_load() - reads the records of a namespace; returns how many cannot be used, each of them is logged */
int leases_load(Namespace *ns) {
        return record_foreach(ns->manager->state_fd, ns->name, KIND, load_one, ns);
}

/* ---- ends ---- */

/** lease_remove() - ends a lease, durably; its roots are none any more */
int lease_remove(Lease *l, sd_bus_error *error) {
        Namespace *ns = l->ns;
        int r;

        r = collect_mark(ns->manager);
        if (r >= 0)
                r = record_remove(ns->manager->state_fd, ns->name, KIND, l->id, true);
        if (r < 0)
                return error_set_errno(error, r, "Cannot remove the record of lease \"%s\"", l->id);

        lease_bus_removed(l);
        g_hash_table_remove(ns->leases, l->id);
        return 0;
}

static void lease_end(Lease *l, const char *why) {
        Manager *m = l->ns->manager;

        log_debug("Lease %s/%s ends: %s", l->ns->name, l->id, why);
        if (lease_remove(l, NULL) >= 0)
                collect_schedule(m);
}

static int on_expired(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        lease_end(userdata, "its time is over");
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        const char *name, *before, *after;
        Lease *l = userdata;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) >= 0 && streq(name, l->owner) && !*after)
                lease_end(l, "its owner has left the bus");
        return 0;
}

/* The match stands: an owner that went before is not told of any more. */
static int on_owner_known(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Lease *l = userdata;
        int there = 1;

        if (!sd_bus_message_is_method_error(m, NULL))
                (void)sd_bus_message_read(m, "b", &there);
        if (!there)
                lease_end(l, "its owner has left the bus");
        return 0;
}

static int on_watching(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_) {
        Lease *l = userdata;
        int r;

        l->ask = sd_bus_slot_unref(l->ask);
        r = sd_bus_call_method_async(l->ns->manager->bus, &l->ask, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "NameHasOwner", on_owner_known, l, "s", l->owner);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask whether the owner of lease %s is there", l->id);
        return 0;
}

static char *bus_id_of(Manager *m) {
        char text[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (!m->bus || sd_bus_get_bus_id(m->bus, &id) < 0)
                return g_strdup("");
        return g_strdup(sd_id128_to_string(id, text));
}

static int on_stranger(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        lease_end(userdata, "its owner was on another bus");
        return 0;
}

static int watch_owner(Lease *l) {
        g_autofree char *match = NULL, *bus = bus_id_of(l->ns->manager);
        Manager *m = l->ns->manager;

        if (!m->bus)
                return 0;
        if (!streq(bus, l->bus))
                return sd_event_add_time_relative(m->event, &l->timer, CLOCK_MONOTONIC, 0, 0, on_stranger, l);
        match = g_strdup_printf("type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'",
                                l->owner);
        return sd_bus_add_match_async(m->bus, &l->watch, match, on_owner_changed, on_watching, l);
}

/* Whatever can end it by itself from now on. */
static int begin_watch(Lease *l) {
        int r = 0;

        if (*l->owner)
                r = watch_owner(l);
        if (r >= 0 && l->expires > 0 && !l->timer && l->ns->manager->event)
                r = sd_event_add_time(l->ns->manager->event, &l->timer, CLOCK_REALTIME, l->expires, USEC_PER_SEC / 10,
                                      on_expired, l);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot watch for the end of lease %s", l->id);
        return r;
}

/* ---- life ---- */

static int new_id(Namespace *ns, char random[13]) {
        int r;

        do
                r = name_random_id(random);
        while (r >= 0 && g_hash_table_contains(ns->leases, random));
        return r;
}

/** lease_create() - a new lease, durable when this returns; see lease.h */
int lease_create(Namespace *ns, const char *id, const LeaseOptions *options, Lease **ret, sd_bus_error *error) {
        g_autofree char *bus = options->owner ? bus_id_of(ns->manager) : g_strdup("");
        char random[13];
        Lease *l;
        int r = 0;

        if (options->expire_usec > EXPIRE_MAX_USEC)
                return error_invalid(error, "ExpireUSec is more than a hundred years.");
        if (!*id)
                r = new_id(ns, random);
        else if (!name_id_valid(id))
                return error_invalid(error, "\"%s\" is no id of a lease: up to %u " NAME_RULE ".", id, NAME_ID_MAX);
        else if (g_hash_table_contains(ns->leases, id))
                return error_exists(error, "There is a lease \"%s\" in namespace \"%s\" already.", id, ns->name);
        if (r < 0)
                return error_set_errno(error, r, "No id can be made");

        l = lease_new(ns, *id ? id : random, options->owner ?: "", bus);
        if (options->labels) {
                g_hash_table_unref(l->labels);
                l->labels = g_hash_table_ref(options->labels);
        }
        l->created = now_usec(CLOCK_REALTIME);
        l->expires = options->expire_usec > 0 ? l->created + options->expire_usec : 0;
        r = lease_save(l);
        if (r < 0) {
                error_set_errno(error, r, "Cannot write the record of lease \"%s\"", l->id);
                lease_free(l);
                return r;
        }
        g_hash_table_insert(ns->leases, l->id, l);
        (void)begin_watch(l);
        lease_bus_added(l);
        *ret = l;
        return 0;
}

/** lease_find() - by its whole id */
int lease_find(Namespace *ns, const char *id, Lease **ret, sd_bus_error *error) {
        *ret = g_hash_table_lookup(ns->leases, id);
        if (!*ret)
                return error_not_found(error, "There is no lease \"%s\" in namespace \"%s\".", id, ns->name);
        return 0;
}

/** lease_set_labels() - replaces them, durably; takes @labels in any case */
int lease_set_labels(Lease *l, GHashTable *labels, sd_bus_error *error) {
        GHashTable *before = l->labels;
        int r;

        l->labels = labels;
        r = lease_save(l);
        if (r < 0) {
                l->labels = before;
                g_hash_table_unref(labels);
                return error_set_errno(error, r, "The labels of lease \"%s\" cannot be stored", l->id);
        }
        g_hash_table_unref(before);
        lease_bus_changed(l, "Labels");
        return 0;
}

/* ---- resources ---- */

/** lease_check_resource() - whether a lease could hold this at all: a known type, and a name of its form */
int lease_check_resource(const char *type, const char *id, sd_bus_error *error) {
        static const char *const types[] = { "image", "snapshot", "chain", "content", NULL };

        if (!g_strv_contains(types, type))
                return error_invalid(
                        error, "A lease holds resources of type image, snapshot, chain and content, not \"%s\".", type);
        if ((streq(type, "chain") || streq(type, "content")) && !digest_valid(id))
                return error_invalid(error, "\"%s\" is no %s: \"sha256:\" with 64 hexadecimal digits.", id, type);
        if (!*id || strlen(id) > RESOURCE_ID_MAX || strchr(id, '\n'))
                return error_invalid(error, "The name of a resource is empty, too long, or has a line break in it.");
        return 0;
}

/** lease_has() - whether it names this very resource */
bool lease_has(const Lease *l, const char *type, const char *id) {
        g_autofree char *key = g_strconcat(type, "\n", id, NULL);

        return g_hash_table_contains(l->resources, key);
}

/** lease_add() - makes a resource stay; one it has already is fine */
int lease_add(Lease *l, const char *type, const char *id, sd_bus_error *error) {
        g_autofree char *key = g_strconcat(type, "\n", id, NULL);
        int r;

        r = lease_check_resource(type, id, error);
        if (r < 0)
                return r;
        if (g_hash_table_contains(l->resources, key))
                return 0;
        if (g_hash_table_size(l->resources) >= LEASE_RESOURCES_MAX)
                return error_set(error, ERROR_RESOURCE_EXHAUSTED,
                                 "Lease \"%s\" holds %u resources, which is the limit.", l->id, LEASE_RESOURCES_MAX);
        g_hash_table_add(l->resources, g_strdup(key));
        r = lease_save(l);
        if (r < 0) {
                (void)g_hash_table_remove(l->resources, key);
                return error_set_errno(error, r, "Cannot write the record of lease \"%s\"", l->id);
        }
        lease_bus_changed(l, "Resources");
        return 0;
}

/** lease_drop() - lets a resource go; -ENOENT when it does not hold it. collect_schedule() is the caller's. */
int lease_drop(Lease *l, const char *type, const char *id, sd_bus_error *error) {
        g_autofree char *key = g_strconcat(type, "\n", id, NULL);
        int r;

        if (!g_hash_table_contains(l->resources, key))
                return error_not_found(error, "Lease \"%s\" holds no %s \"%s\".", l->id, type, id);
        r = collect_mark(l->ns->manager);
        if (r < 0)
                return error_set_errno(error, r, "Cannot note that a collection is due");
        (void)g_hash_table_remove(l->resources, key);
        r = lease_save(l);
        if (r < 0) {
                g_hash_table_add(l->resources, g_steal_pointer(&key));
                return error_set_errno(error, r, "Cannot write the record of lease \"%s\"", l->id);
        }
        lease_bus_changed(l, "Resources");
        return 0;
}

/** lease_of() - a lease that names this resource; NULL when none does */
const Lease *lease_of(const Namespace *ns, const char *type, const char *id) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->leases);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (lease_has(value, type, id))
                        return value;
        return NULL;
}

/** lease_add_late() - see lease.h; what cannot be added is logged: the operation itself has succeeded */
void lease_add_late(Manager *m, const char *ns_name, const char *id, ...) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, ns_name);
        Lease *l = ns && id && *id ? g_hash_table_lookup(ns->leases, id) : NULL;
        const char *type;
        va_list ap;

        va_start(ap, id);
        while (l && (type = va_arg(ap, const char *))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                if (lease_add(l, type, va_arg(ap, const char *), &error) < 0)
                        log_warning("Lease %s does not hold what it was asked to: %s", id, error.message);
        }
        va_end(ap);
}

static void visit_named(const Lease *l, const char *type, const char *id, root_visit_t visit, void *userdata) {
        const RootReason why = { "lease", l->ns->name, l->id };
        const Snapshot *s;
        const Image *image;

        if (streq(type, "chain"))
                visit(ROOT_CHAIN, id, &why, userdata);
        else if (streq(type, "content"))
                visit(ROOT_CONTENT, id, &why, userdata);
        else if (streq(type, "image") && (image = g_hash_table_lookup(l->ns->images, id)))
                image_record_visit_roots(image->record, &why, visit, userdata);
        else if (streq(type, "snapshot") && (s = g_hash_table_lookup(l->ns->snapshots, id)) && !s->doomed) {
                const char *chain = s->kind == SNAPSHOT_COMMITTED ? s->chain_id : s->parent;

                if (*chain)
                        visit(ROOT_CHAIN, chain, &why, userdata);
        }
}

/** lease_visit_roots() - what the leases of a namespace name */
void lease_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata) {
        GHashTableIter leases, resources;
        void *value, *key;

        g_hash_table_iter_init(&leases, ns->leases);
        while (g_hash_table_iter_next(&leases, NULL, &value)) {
                g_hash_table_iter_init(&resources, ((Lease *)value)->resources);
                while (g_hash_table_iter_next(&resources, &key, NULL)) {
                        const char *id = strchr(key, '\n');
                        g_autofree char *type = g_strndup(key, (size_t)(id - (char *)key));

                        visit_named(value, type, id + 1, visit, userdata);
                }
        }
}
