/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of contents: org.davit.Davit1.Content, and the Manager's methods about contents and their writers.
 *
 * Decodes calls, asks content.c and content-writer.c, encodes what they say. Bytes come and go as descriptors.
 */

#include <errno.h>

#include "daemon/bus.h"
#include "daemon/content-writer.h"
#include "daemon/content.h"
#include "daemon/job-bus.h"
#include "daemon/objects.h"
#include "shared/macros.h"

static const ObjectTable objects = OBJECT_TABLE("content", "Content", contents, Content, path);

/* ---- the object ---- */

static int method_read(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_close_ int fd = -1;
        uint64_t offset, length;
        Content *c = userdata;
        int r;

        r = sd_bus_message_read(m, "tt", &offset, &length);
        if (r >= 0)
                r = content_read(c, offset, length, &fd, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "ht", fd, c->size);
}

static int method_set_labels(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        GHashTable *labels;
        int r;

        r = bus_read_labels(m, &labels, error);
        if (r >= 0)
                r = content_set_labels(userdata, labels, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r;

        r = content_delete(userdata, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int get_namespace(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                         const char *property _unused_, sd_bus_message *reply, void *userdata,
                         sd_bus_error *error _unused_) {
        return sd_bus_message_append(reply, "s", ((const Content *)userdata)->ns->name);
}

static int get_kind(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                    const char *property _unused_, sd_bus_message *reply, void *userdata,
                    sd_bus_error *error _unused_) {
        return sd_bus_message_append(reply, "s", content_kind_name(((const Content *)userdata)->kind));
}

static int get_labels(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property _unused_, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error _unused_) {
        return bus_append_labels(reply, ((const Content *)userdata)->labels);
}

#define AT(x) offsetof(Content, x)
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Read", SD_BUS_ARGS("t", offset, "t", length), SD_BUS_RESULT("h", data, "t", size),
                                method_read, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetLabels", SD_BUS_ARGS("a{ss}", labels), SD_BUS_NO_RESULT, method_set_labels,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Digest", "s", NULL, AT(digest), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kind", "s", get_kind, 0, CHANGES),
        SD_BUS_PROPERTY("MediaType", "s", NULL, AT(media_type), CHANGES),
        SD_BUS_PROPERTY("Size", "t", NULL, AT(size), CHANGES),
        SD_BUS_PROPERTY("Labels", "a{ss}", get_labels, 0, CHANGES),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, AT(created), CHANGES),
        SD_BUS_PROPERTY("UpdatedAt", "t", NULL, AT(updated), CHANGES),
        SD_BUS_VTABLE_END,
};

/** content_bus_register() - puts the contents of every namespace on the bus */
int content_bus_register(Manager *m) {
        return object_register(m, &objects, vtable);
}

/** content_event() - tells what has become of a content */
void content_event(const Content *c, EventType type) {
        event_emit(c->ns->manager, type, c->ns->name, c->digest, c->path, "CONTENT_KIND", content_kind_name(c->kind),
                   NULL);
}

void content_bus_added(Content *c) {
        object_added(c->ns->manager, &objects, c);
        content_event(c, EVENT_CONTENT_CREATE);
}

void content_bus_removed(Content *c) {
        object_removed(c->ns->manager, &objects, c);
        content_event(c, EVENT_CONTENT_DELETE);
}

/** content_bus_changed() - labels, or what was written again */
void content_bus_changed(Content *c) {
        object_changed(c->ns->manager, &objects, c,
                       (const char *const[]){ "Kind", "MediaType", "Size", "Labels", "CreatedAt", "UpdatedAt", NULL });
        content_event(c, EVENT_CONTENT_UPDATE);
}

/* ---- Manager ---- */

/** method_get_content() - Manager.GetContent */
int method_get_content(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns_name, *digest;
        Namespace *ns;
        Content *c;
        int r;

        r = sd_bus_message_read(m, "ss", &ns_name, &digest);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r >= 0)
                r = content_find(ns, digest, &c, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", c->path);
}

typedef struct Filters {
        char **digests, **labels, **kinds;
} Filters;

static bool wanted(const void *object, const void *filters) {
        const Filters *f = filters;
        const Content *c = object;

        return object_named(c->digest, f->digests) && object_named(content_kind_name(c->kind), f->kinds) &&
               bus_labels_match(c->labels, f->labels);
}

static int append(sd_bus_message *reply, const void *object) {
        const Content *c = object;
        int r;

        r = sd_bus_message_append(reply, "sssst", c->ns->name, c->digest, content_kind_name(c->kind), c->media_type,
                                  c->size);
        if (r >= 0)
                r = bus_append_labels(reply, c->labels);
        return r < 0 ? r : sd_bus_message_append(reply, "to", c->created, c->path);
}

/** method_list_content() - Manager.ListContent */
int method_list_content(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Digest", "as", offsetof(Filters, digests), 1, bus_read_named },
                { "Label", "as", offsetof(Filters, labels), 1, bus_read_named },
                { "Kind", "as", offsetof(Filters, kinds), 1, bus_read_named },
        };
        static const ObjectList list = { &objects, table, ELEMENTSOF(table), "ssssta{ss}to", wanted, append };
        Filters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
}

/* ---- writers ---- */

static void options_free(WriteOptions *o) {
        g_free(o->digest);
        g_free(o->media_type);
        g_free(o->lease);
        if (o->labels)
                g_hash_table_unref(o->labels);
}

enum { WRITE = 1, COMMIT = 2 };

/* The namespace, the reference and the options of both calls. */
static int read_writer(sd_bus_message *m, Manager *manager, unsigned mask, Namespace **ret_ns, const char **ret_ref,
                       WriteOptions *o, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Size", "t", offsetof(WriteOptions, total), WRITE | COMMIT, NULL },
                { "Digest", "s", offsetof(WriteOptions, digest), WRITE | COMMIT, bus_read_named },
                { "MediaType", "s", offsetof(WriteOptions, media_type), WRITE | COMMIT, NULL },
                { "Labels", "a{ss}", offsetof(WriteOptions, labels), WRITE | COMMIT, NULL },
                { "Lease", "s", offsetof(WriteOptions, lease), COMMIT, bus_read_named },
        };
        const char *ns_name;
        int r;

        r = sd_bus_message_read(m, "ss", &ns_name, ret_ref);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), mask, o, error);
        if (r >= 0)
                r = manager_namespace(manager, ns_name, mask == WRITE, ret_ns, error);
        return r;
}

/** method_write_content() - Manager.WriteContent */
int method_write_content(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_free) WriteOptions o = { 0 };
        _cleanup_close_ int fd = -1;
        const char *ref;
        uint64_t offset;
        Namespace *ns;
        int r;

        r = read_writer(m, userdata, WRITE, &ns, &ref, &o, error);
        if (r >= 0)
                r = namespace_settle(ns, content_write(ns, ref, &o, sd_bus_message_get_sender(m), &fd, &offset, error));
        return r < 0 ? r : sd_bus_reply_method_return(m, "ht", fd, offset);
}

/** method_commit_content() - Manager.CommitContent */
int method_commit_content(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_free) WriteOptions o = { 0 };
        const char *ref;
        Namespace *ns;
        Job *job;
        int r;

        r = read_writer(m, userdata, COMMIT, &ns, &ref, &o, error);
        if (r >= 0)
                r = content_commit(ns, ref, &o, &job, error);
        if (r < 0)
                return r;
        return job_bus_reply_path(job, m);
}

/** method_abort_content() - Manager.AbortContent */
int method_abort_content(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *ns_name, *ref;
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "ss", &ns_name, &ref);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r >= 0)
                r = content_abort(ns, ref, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/** method_list_content_writers() - Manager.ListContentWriters; a namespace that is not there has none */
int method_list_content_writers(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const char *ns_name;
        GHashTableIter iter;
        Namespace *ns = NULL;
        void *value;
        int r;

        r = sd_bus_message_read(m, "s", &ns_name);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r == -ENOENT)
                sd_bus_error_free(error);
        else if (r < 0)
                return r;
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sttsstt)");
        if (ns)
                g_hash_table_iter_init(&iter, ns->ingests);
        while (ns && r >= 0 && g_hash_table_iter_next(&iter, NULL, &value)) {
                uint64_t offset = 0, updated = 0;
                const Ingest *i = value;

                (void)ingest_stat(i, &offset, &updated);
                r = sd_bus_message_append(reply, "(sttsstt)", i->ref, offset, i->total, i->digest, i->media_type,
                                          i->started, updated);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
