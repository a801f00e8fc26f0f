/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Contents of a namespace: the table, the records on disk, and how they are read.
 *
 * The store holds the bytes, davitd what is known of them. What an image is made of (manifest, configuration, index,
 * layers) is here without a record, derived from the images' own; it gets a record once it is given labels. What was
 * written by a client has one from the beginning. The table is a view of both and is brought up to date by
 * contents_derive() whenever an image changes. Bytes never pass through davitd: a worker writes them into a pipe.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/record.h"
#include "daemon/store-job.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define KIND "contents"

static const char *const kind_names[_CONTENT_KIND_MAX] = {
        [CONTENT_BLOB] = "blob",   [CONTENT_MANIFEST] = "manifest", [CONTENT_CONFIG] = "config",
        [CONTENT_INDEX] = "index", [CONTENT_LAYER] = "layer",
};

/* Media types of the OCI image specification and of docker that say what a document is. */
static const struct {
        const char *media_type;
        ContentKind kind;
} known_types[] = {
        { "application/vnd.oci.image.manifest.v1+json", CONTENT_MANIFEST },
        { "application/vnd.docker.distribution.manifest.v2+json", CONTENT_MANIFEST },
        { "application/vnd.oci.image.index.v1+json", CONTENT_INDEX },
        { "application/vnd.docker.distribution.manifest.list.v2+json", CONTENT_INDEX },
        { "application/vnd.oci.image.config.v1+json", CONTENT_CONFIG },
        { "application/vnd.docker.container.image.v1+json", CONTENT_CONFIG },
};

/** content_kind_name() - the word on the bus and in records */
const char *content_kind_name(ContentKind kind) {
        return kind_names[kind];
}

/** content_kind_from_name() - _CONTENT_KIND_INVALID for anything that is not a word of ours */
ContentKind content_kind_from_name(const char *name) {
        for (ContentKind k = 0; k < _CONTENT_KIND_MAX; k++)
                if (streq(kind_names[k], name))
                        return k;
        return _CONTENT_KIND_INVALID;
}

static ContentKind kind_of_type(const char *media_type) {
        for (size_t i = 0; i < ELEMENTSOF(known_types); i++)
                if (streq(known_types[i].media_type, media_type))
                        return known_types[i].kind;
        return CONTENT_BLOB;
}

static void content_free(void *p) {
        Content *c = p;

        sd_event_source_disable_unref(c->timer);
        g_free(c->digest);
        g_free(c->media_type);
        g_free(c->path);
        g_hash_table_unref(c->labels);
        g_free(c);
}

static GHashTable *labels_new(void) {
        return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

/** contents_init() - an empty table */
void contents_init(Namespace *ns) {
        ns->contents = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, content_free);
}

/** contents_done() - drops the table; the records stay */
void contents_done(Namespace *ns) {
        g_clear_pointer(&ns->contents, g_hash_table_unref);
}

static Content *content_add(Namespace *ns, const char *digest, ContentKind kind, const char *media_type) {
        Content *c = g_new0(Content, 1);

        c->ns = ns;
        c->digest = g_strdup(digest);
        c->kind = kind;
        c->media_type = g_strdup(media_type);
        c->path = bus_object_path(ns->name, "content", digest);
        c->labels = labels_new();
        g_hash_table_insert(ns->contents, c->digest, c);
        return c;
}

static int load_one(const char *digest, JsonObject *o, void *userdata) {
        const char *kind_name, *media_type;
        g_autoptr(GHashTable) labels = NULL;
        uint64_t size, created, updated;
        Namespace *ns = userdata;
        ContentKind kind;
        Content *c;
        int r;

        r = record_get_string(o, "kind", &kind_name);
        if (r >= 0)
                r = record_get_string(o, "media_type", &media_type);
        if (r >= 0)
                r = record_get_u64(o, "size", &size);
        if (r >= 0)
                r = record_get_u64(o, "created", &created);
        if (r >= 0)
                r = record_get_u64(o, "updated", &updated);
        if (r >= 0)
                r = record_get_labels(o, "labels", &labels);
        if (r < 0)
                return r;
        kind = content_kind_from_name(kind_name);
        if (kind < 0 || !digest_valid(digest))
                return -EBADMSG;

        c = content_add(ns, digest, kind, media_type);
        c->size = size;
        c->created = created;
        c->updated = updated;
        c->recorded = true;
        g_hash_table_unref(c->labels);
        c->labels = g_steal_pointer(&labels);
        content_watch_expiry(c);
        return 0;
}

/** contents_load() - reads the records of a namespace; returns how many cannot be used, each of them is logged */
int contents_load(Namespace *ns) {
        int r;

        r = record_foreach(ns->manager->state_fd, ns->name, KIND, load_one, ns);
        contents_derive(ns, false);
        return r;
}

static int write_record(const Content *c) {
        g_autoptr(JsonObject) o = json_object_new();
        int r;

        json_object_set_string_member(o, "kind", content_kind_name(c->kind));
        json_object_set_string_member(o, "media_type", c->media_type);
        json_object_set_int_member(o, "size", (gint64)c->size);
        json_object_set_int_member(o, "created", (gint64)c->created);
        json_object_set_int_member(o, "updated", (gint64)c->updated);
        record_set_labels(o, "labels", c->labels);
        r = record_write(c->ns->manager->state_fd, c->ns->name, KIND, c->digest, o, true);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot write the record of content %s", c->digest);
        return r;
}

/* ---- what images are made of ---- */

typedef struct Derive {
        Namespace *ns;
        bool announce;
        uint64_t imported;
} Derive;

static void derive_one(Derive *d, const char *digest, ContentKind kind, uint64_t size, const char *media_type) {
        Content *c = g_hash_table_lookup(d->ns->contents, digest);

        if (!c) {
                c = content_add(d->ns, digest, kind, media_type);
                c->size = size;
                c->created = c->updated = d->imported;
                c->derived = true;
                if (d->announce)
                        content_bus_added(c);
        }
        c->derived = true;
}

static void derive_platform(const ImageRecord *record, void *userdata) {
        bool docker = g_str_has_prefix(record->media_type, "application/vnd.docker.");
        Derive *d = userdata;

        derive_one(d, record->digest, CONTENT_MANIFEST, record->manifest_size, record->media_type);
        derive_one(d, record->config_digest, CONTENT_CONFIG, record->config_size,
                   docker ? "application/vnd.docker.container.image.v1+json"
                          : "application/vnd.oci.image.config.v1+json");
        for (guint i = 0; i < record->layers->len; i++)
                derive_one(d, g_array_index(record->layers, ImageLayer, i).diff_id, CONTENT_LAYER, 0,
                           "application/vnd.oci.image.layer.v1.tar");
}

static void remove_record(const Content *c) {
        int r;

        r = record_remove(c->ns->manager->state_fd, c->ns->name, KIND, c->digest, false);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the record of content %s", c->digest);
}

/* No image has it any more, and it is not here for its own sake: a layer's labels go with the layer. */
static void drop_others(Derive *d) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, d->ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Content *c = value;

                if (c->derived || (c->recorded && c->kind != CONTENT_LAYER))
                        continue;
                if (c->recorded)
                        remove_record(c);
                if (d->announce)
                        content_bus_removed(c);
                g_hash_table_iter_remove(&iter);
        }
}

/**
 * contents_derive() - brings the table up to date with the images of the namespace
 * @announce: tell the bus; not while records are read at start
 */
void contents_derive(Namespace *ns, bool announce) {
        Derive d = { .ns = ns, .announce = announce };
        GHashTableIter iter;
        void *value;

        if (!ns->contents)
                return;
        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                ((Content *)value)->derived = false;
        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const ImageRecord *record = ((Image *)value)->record;

                d.imported = record->imported;
                image_record_foreach_platform(record, derive_platform, &d);
                if (*record->index)
                        derive_one(&d, record->index, CONTENT_INDEX, 0, "application/vnd.oci.image.index.v1+json");
        }
        drop_others(&d);
}

/** contents_count_recorded() - how many are here for their own sake */
unsigned contents_count_recorded(const Namespace *ns) {
        GHashTableIter iter;
        unsigned n = 0;
        void *value;

        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                n += ((Content *)value)->recorded;
        return n;
}

/* ---- one content ---- */

/** content_find() - by its whole digest */
int content_find(Namespace *ns, const char *digest, Content **ret, sd_bus_error *error) {
        if (!digest_valid(digest))
                return error_invalid(error, "\"%s\" is not \"sha256:\" with 64 hexadecimal digits.", digest);
        *ret = g_hash_table_lookup(ns->contents, digest);
        if (!*ret)
                return error_not_found(error, "There is no content \"%s\" in namespace \"%s\".", digest, ns->name);
        return 0;
}

static void merge_labels(GHashTable *to, GHashTable *from) {
        GHashTableIter iter;
        void *k, *v;

        if (!from)
                return;
        g_hash_table_iter_init(&iter, from);
        while (g_hash_table_iter_next(&iter, &k, &v))
                g_hash_table_insert(to, g_strdup(k), g_strdup(v));
}

/* Of the type and the labels @c becomes the only owner; @before keeps those it had. */
static void change(Content *c, uint64_t size, const char *media_type, GHashTable *labels, Content *before) {
        *before = *c;
        if (!c->derived && *media_type) {
                c->media_type = g_strdup(media_type);
                c->kind = kind_of_type(media_type);
        } else {
                c->media_type = g_strdup(c->media_type);
                if (c->kind == CONTENT_LAYER)
                        c->kind = CONTENT_BLOB; /* now it is here as it was written, too */
        }
        c->size = size;
        c->updated = now_usec(CLOCK_REALTIME);
        if (!c->recorded)
                c->created = c->updated;
        c->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        merge_labels(c->labels, before->labels);
        merge_labels(c->labels, labels);
}

/**
 * content_put() - a record of what the store has just committed, durably; without one nothing has changed
 * @media_type: may be ""
 * @labels: added to those it has; may be NULL
 */
int content_put(Namespace *ns, const char *digest, uint64_t size, const char *media_type, GHashTable *labels,
                Content **ret) {
        Content *c = g_hash_table_lookup(ns->contents, digest);
        Content before, *unused;
        bool fresh = !c;
        int r;

        if (!c)
                c = content_add(ns, digest, kind_of_type(media_type), media_type);
        change(c, size, media_type, labels, &before);
        r = write_record(c);
        unused = r < 0 ? c : &before;
        g_free(unused->media_type);
        g_hash_table_unref(unused->labels);
        if (r < 0) {
                *c = before;
                if (fresh)
                        g_hash_table_remove(ns->contents, digest);
                return r;
        }

        c->recorded = true;
        c->put = now_usec(CLOCK_MONOTONIC);
        content_watch_expiry(c);
        if (fresh)
                content_bus_added(c);
        else
                content_bus_changed(c);
        *ret = c;
        return 0;
}

/* Labels that keep something now have to come before a collection is told what stays. */
static int check_kept(const Content *c, GHashTable *labels, sd_bus_error *error) {
        Manager *m = c->ns->manager;
        GHashTableIter iter;
        void *key, *value;
        int r = 0;

        if (g_hash_table_contains(labels, "davit.gc.root") || g_hash_table_contains(labels, "davit.gc.expire"))
                r = collect_check(m, ROOT_CONTENT, c->digest, error);
        g_hash_table_iter_init(&iter, labels);
        while (r >= 0 && g_hash_table_iter_next(&iter, &key, &value))
                if (g_str_has_prefix(key, "davit.gc.ref.content"))
                        r = collect_check(m, ROOT_CONTENT, value, error);
        return r;
}

/** content_set_labels() - replaces all labels, durably; @labels is taken in any case */
int content_set_labels(Content *c, GHashTable *labels, sd_bus_error *error) {
        GHashTable *before = c->labels;
        uint64_t updated = c->updated;
        int r;

        r = content_check_labels(labels, error);
        if (r >= 0 && c->kind == CONTENT_LAYER &&
            (g_hash_table_contains(labels, "davit.gc.root") || g_hash_table_contains(labels, "davit.gc.expire")))
                r = error_not_supported(error, "A layer is kept by its image, not by a label; pin or tag the image.");
        if (r >= 0)
                r = check_kept(c, labels, error);
        if (r < 0) {
                g_hash_table_unref(labels);
                return r;
        }

        c->labels = labels;
        c->updated = now_usec(CLOCK_REALTIME);
        r = write_record(c);
        if (r < 0) {
                c->labels = before;
                c->updated = updated;
                g_hash_table_unref(labels);
                return error_set_errno(error, r, "The labels of content \"%s\" cannot be stored", c->digest);
        }
        c->recorded = true;
        content_watch_expiry(c);
        g_hash_table_unref(before);
        content_bus_changed(c);
        collect_schedule(c->ns->manager); /* what a label has kept may be free to go */
        return 0;
}

/* Record and object, unless an image is made of it: then the object stays. */
static void forget(Content *c) {
        remove_record(c);
        c->recorded = false;
        g_hash_table_remove_all(c->labels);
        content_watch_expiry(c);
        if (c->derived) {
                content_bus_changed(c);
                return;
        }
        content_bus_removed(c);
        g_hash_table_remove(c->ns->contents, c->digest);
}

/** content_delete() - takes a content away; its bytes go with the next collection when nothing else needs them */
int content_delete(Content *c, sd_bus_error *error) {
        const Lease *lease = lease_of(c->ns, "content", c->digest);
        Manager *m = c->ns->manager;
        int r;

        if (c->derived)
                return error_precondition(error, "Content \"%s\" is part of an image; delete the image.", c->digest);
        if (lease)
                return error_precondition(error, "Content \"%s\" is held by lease \"%s\".", c->digest, lease->id);
        r = collect_mark(m);
        if (r < 0)
                return error_set_errno(error, r, "Content \"%s\" cannot be deleted", c->digest);
        forget(c);
        collect_schedule(m);
        return 0;
}

/**
 * contents_collected() - what a collection means for the records
 * @dropped: digests whose bytes have gone; NULL ends
 * @since: when the collection had the store to itself (CLOCK_MONOTONIC); what was committed later is there again
 */
void contents_collected(Manager *m, char **dropped, uint64_t since) {
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns))
                for (char **d = dropped; d && *d; d++) {
                        Content *c = g_hash_table_lookup(((Namespace *)ns)->contents, *d);

                        if (c && c->recorded && !c->derived && c->kind != CONTENT_LAYER && c->put < since)
                                forget(c);
                }
}

/* Owner of the RootHold that keeps the bytes until they have been written. */
static void unhold(void *p) {
        (void)root_hold_free(p);
}

/**
 * content_read() - bytes of a content as a pipe
 * @offset, @length: bytes; length 0 means to the end
 * @ret_fd: the end to read from; it ends early when something goes wrong
 */
int content_read(Content *c, uint64_t offset, uint64_t length, int *ret_fd, sd_bus_error *error) {
        g_autoptr(JsonObject) request = json_object_new();
        Manager *m = c->ns->manager;
        StoreWork work = { .ns = c->ns->name,
                           .type = "content-read",
                           .subject = c->digest,
                           .request = request,
                           .n_fds = 1 };
        int fds[2], r;

        if (c->size > 0 && (offset > c->size || length > c->size - offset))
                return error_invalid(error, "Content \"%s\" has %" PRIu64 " bytes.", c->digest, c->size);
        if (offset > INT64_MAX || length > INT64_MAX)
                return error_invalid(error, "Offset and length are too large.");
        json_object_set_string_member(request, "operation", "content-read");
        json_object_set_string_member(request, "digest", c->digest);
        json_object_set_string_member(request, "kind", c->kind == CONTENT_LAYER ? "layer" : "blob");
        json_object_set_int_member(request, "offset", (gint64)offset);
        json_object_set_int_member(request, "length", (gint64)length);
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set_errno(error, -errno, "Cannot make a pipe");

        work.fds = &fds[1];
        work.userdata = root_hold_new(m, ROOT_CONTENT, c->digest);
        work.destroy = unhold;
        r = store_job_begin(m->store_reads, &work, NULL, error);
        (void)safe_close(fds[1]);
        if (r < 0) {
                (void)safe_close(fds[0]);
                return r;
        }
        *ret_fd = fds[0];
        return 0;
}
