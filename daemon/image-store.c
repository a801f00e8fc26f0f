/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What images ask of the store: imports and removals, and the order between them.
 *
 * An import runs as a job in a worker of its own, a handful at a time. A removal hands the worker every chain that is
 * still used and lets it drop the rest, so it must not run beside an import, whose chains are in no record yet: a
 * removal waits until no import runs, and imports that come while it runs wait for it. Who is running or waiting is
 * kept here; a manager that ends closes the connections, which stops the workers.
 *
 * No removal runs while a record cannot be read, since what that record uses is not known.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/image-store.h"
#include "daemon/launcher.h"
#include "daemon/record.h"
#include "daemon/snapshot.h"
#include "daemon/store-client.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"

/* Workers at a time: more would only take memory from each other, and the socket has a limit of its own. */
#define IMPORTS_MAX 8U
#define CHAINS "chains" /* of the run directory: where the launcher mounts them */

typedef struct Import {
        ImageStore *store;
        Job *job;
        char *ns;
        char *name; /* NULL: the archive's */
        int archive;
        JsonObject *request;
        StoreOp *op; /* NULL: waits */
} Import;

typedef struct Removal {
        ImageStore *store;
        char *ns;
        char *name;
        GPtrArray *waiters; /* sd_bus_message */
        StoreOp *op;
} Removal;

struct ImageStore {
        Manager *m;
        bool started;
        unsigned n_broken;
        GQueue waiting_imports;
        GQueue running_imports;
        GQueue waiting_removals;
        Removal *removal; /* the one that runs */
};

static void pump(ImageStore *s);

static void import_free(void *p) {
        Import *i = p;

        (void)store_op_free(i->op);
        (void)safe_close(i->archive);
        json_object_unref(i->request);
        g_free(i->ns);
        g_free(i->name);
        g_free(i);
}

static void message_unref(void *p) {
        sd_bus_message_unref(p);
}

static void removal_free(void *p) {
        Removal *r = p;

        (void)store_op_free(r->op);
        g_ptr_array_unref(r->waiters);
        g_free(r->ns);
        g_free(r->name);
        g_free(r);
}

/** image_store_new() - nothing running, removals held back until image_store_start() */
int image_store_new(Manager *m, ImageStore **ret) {
        ImageStore *s = g_new0(ImageStore, 1);

        s->m = m;
        g_queue_init(&s->waiting_imports);
        g_queue_init(&s->running_imports);
        g_queue_init(&s->waiting_removals);
        *ret = s;
        return 0;
}

/** image_store_free() - gives up what is running: workers see the end of their connection. The jobs are the caller's to
 * drop. */
ImageStore *image_store_free(ImageStore *s) {
        if (!s)
                return NULL;

        g_queue_clear_full(&s->waiting_imports, import_free);
        g_queue_clear_full(&s->running_imports, import_free);
        g_queue_clear_full(&s->waiting_removals, removal_free);
        g_clear_pointer(&s->removal, removal_free);
        g_free(s);
        return NULL;
}

/* ---- imports ---- */

static GVariant *import_result(GPtrArray *records) {
        g_autoptr(GVariantBuilder) names = g_variant_builder_new(G_VARIANT_TYPE_STRING_ARRAY);
        GVariantDict dict;

        for (guint i = 0; i < records->len; i++)
                g_variant_builder_add(names, "s", ((ImageRecord *)g_ptr_array_index(records, i))->name);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Images", g_variant_builder_end(names));
        return g_variant_dict_end(&dict);
}

static void removal_answer(Removal *r, const sd_bus_error *error) {
        for (guint i = 0; i < r->waiters->len; i++) {
                sd_bus_message *call = g_ptr_array_index(r->waiters, i);

                (void)(error ? sd_bus_reply_method_error(call, error) : sd_bus_reply_method_return(call, NULL));
        }
}

/** image_removals_pending() - whether space of a namespace's images is still to be freed: its notes must stay */
bool image_removals_pending(Manager *m, const char *ns) {
        g_autofree char *dir = g_strdup_printf("namespaces/%s/" IMAGE_REMOVALS_KIND, ns);

        /* the last note takes the directory with it */
        return unlinkat(m->state_fd, dir, AT_REMOVEDIR) < 0 && errno != ENOENT;
}

static void removal_note_remove(ImageStore *s, const char *ns, const char *name) {
        (void)record_remove(s->m->state_fd, ns, IMAGE_REMOVALS_KIND, name, false);
        (void)image_removals_pending(s->m, ns);
}

/* The name means something again: what is still to be removed under it must stay. */
static void removals_forget(ImageStore *s, const char *ns, const char *name) {
        GList *next;

        for (GList *l = s->waiting_removals.head; l; l = next) {
                Removal *r = l->data;

                next = l->next;
                if (!streq(r->ns, ns) || !streq(r->name, name))
                        continue;
                removal_answer(r, NULL);
                g_queue_delete_link(&s->waiting_removals, l);
                removal_free(r);
        }
        removal_note_remove(s, ns, name);
}

/* A result that is refused: what the worker has committed under names that mean nothing here is garbage. */
static void import_undo(Import *i, JsonObject *result) {
        JsonNode *node = json_object_get_member(result, "images");
        JsonArray *array = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
        Namespace *ns = g_hash_table_lookup(i->store->m->namespaces, i->ns);
        guint n = array ? json_array_get_length(array) : 0;

        for (guint k = 0; k < MIN(n, IMAGE_RESULT_MAX); k++) {
                JsonNode *element = json_array_get_element(array, k);
                _cleanup_free_ char *whole = NULL;
                const char *name;

                if (JSON_NODE_HOLDS_OBJECT(element) &&
                    record_get_string(json_node_get_object(element), "name", &name) >= 0 &&
                    image_name_normalise(name, &whole) >= 0 && !(ns && g_hash_table_contains(ns->images, whole)))
                        (void)image_removal_begin(i->store, i->ns, whole, NULL);
        }
}

/* The worker has committed; now the records. */
static int import_accept(Import *i, JsonObject *result, GVariant **ret, sd_bus_error *error) {
        g_autoptr(GPtrArray) records = NULL;
        g_autofree char *why = NULL;
        Namespace *ns;
        int r;

        r = image_records_parse(result, &records, &why);
        if (r >= 0 && i->name &&
            (records->len != 1 || !streq(((ImageRecord *)g_ptr_array_index(records, 0))->name, i->name))) {
                why = g_strdup("images does not hold the name that was asked for");
                r = -EBADMSG;
        }
        if (r < 0) {
                log_warning("Store worker's result of an import is refused: %s", why);
                import_undo(i, result);
                return error_set(error, r == -EINVAL ? ERROR_INVALID_ARGUMENT : ERROR_INTERNAL,
                                 "The archive's image cannot be used: %s.", why);
        }

        r = manager_namespace(i->store->m, i->ns, true, &ns, error);
        if (r < 0)
                return r;
        *ret = g_variant_ref_sink(import_result(records));
        g_ptr_array_set_free_func(records, NULL);
        for (guint k = 0; k < records->len; k++) {
                ImageRecord *record = g_ptr_array_index(records, k);
                int q;

                removals_forget(i->store, i->ns, record->name);
                q = image_put(ns, record, NULL); /* the rest is put all the same: the store holds it */
                if (q < 0)
                        r = error_set_errno(error, q, "The image was imported, but its record cannot be written");
        }
        return r;
}

static void import_done(StoreOp *op, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        g_autoptr(GVariant) images = NULL;
        Import *i = userdata;
        ImageStore *s = i->store;
        bool cancelled = store_op_cancel_asked(op);

        i->op = NULL; /* frees itself */
        if (error && cancelled)
                (void)job_finish_cancelled(i->job);
        else if (error)
                (void)job_finish_error(i->job, error->name, error->message);
        else if (import_accept(i, result, &images, &failure) < 0)
                (void)job_finish_error(i->job, failure.name, failure.message);
        else
                (void)job_finish_ok(i->job, images);

        g_queue_remove(&s->running_imports, i);
        import_free(i);
        pump(s);
}

static void import_progress(StoreOp *op _unused_, const struct store_progress *p, void *userdata) {
        const JobProgress progress = {
                .bytes_done = p->bytes_done,
                .bytes_total = p->bytes_total,
                .parts_done = p->layers_done,
                .parts_total = p->layers_total,
        };
        Import *i = userdata;

        (void)job_progress(i->job, &progress);
}

/* Whoever runs is asked to stop, whoever waits has not begun. */
static void import_cancel(Job *job, void *userdata) {
        Import *i = userdata;

        if (i->op) {
                store_op_cancel(i->op);
                return;
        }

        g_queue_remove(&i->store->waiting_imports, i);
        import_free(i);
        (void)job_finish_cancelled(job);
}

static bool import_may_start(ImageStore *s) {
        return !s->removal && s->running_imports.length < IMPORTS_MAX;
}

static int import_start(Import *i, sd_bus_error *error) {
        static const StoreHandlers handlers = { import_progress, import_done };
        int r;

        r = store_op_start(i->store->m->event, i->request, &i->archive, 1, &handlers, i, &i->op, error);
        if (r < 0)
                return r;

        i->archive = safe_close(i->archive); /* the worker's now: a pipe's writer sees when that one goes */
        g_queue_push_tail(&i->store->running_imports, i);
        return 0;
}

static JsonObject *import_request(const char *ns, const ImportOptions *options) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "operation", "import");
        json_object_set_string_member(o, "namespace", ns);
        json_object_set_string_member(o, "format", options->format);
        if (options->name)
                json_object_set_string_member(o, "name", options->name);
        if (options->platform)
                json_object_set_string_member(o, "platform", options->platform);
        if (options->size > 0)
                json_object_set_int_member(o, "size", (gint64)options->size);
        return o;
}

/**
 * image_import_begin() - starts an import
 * @archive: stays the caller's
 * @ret: a job of type "import"; its result holds Images (as)
 */
int image_import_begin(ImageStore *s, const char *ns, int archive, const ImportOptions *options, Job **ret,
                       sd_bus_error *error) {
        Import *i = g_new0(Import, 1);
        int r = 0;

        i->store = s;
        i->ns = g_strdup(ns);
        i->name = g_strdup(options->name);
        i->request = import_request(ns, options);
        i->archive = fcntl(archive, F_DUPFD_CLOEXEC, 3);
        if (i->archive < 0)
                r = error_set_errno(error, -errno, "Cannot keep the archive's descriptor");
        else if (!import_may_start(s))
                g_queue_push_tail(&s->waiting_imports, i);
        else
                r = import_start(i, error);
        if (r < 0) {
                import_free(i);
                return r;
        }

        r = job_new(s->m, "import", options->name ?: "archive", import_cancel, i, &i->job);
        *ret = i->job;
        return r;
}

/* ---- removals ---- */

static void add_live_chains(Namespace *ns, GHashTable *live) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_hash_table_add(live, ((Image *)value)->record->chain_id);
        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (*((Snapshot *)value)->parent)
                        g_hash_table_add(live, ((Snapshot *)value)->parent);
}

/* Strings are borrowed. */
static GHashTable *live_chains(ImageStore *s) {
        GHashTable *live = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, s->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                add_live_chains(value, live);
        return live;
}

/** image_store_live_chains() - chain ids that an image or a snapshot of any namespace needs; an array, each once */
JsonArray *image_store_live_chains(ImageStore *s) {
        g_autoptr(GHashTable) live = live_chains(s);
        JsonArray *array = json_array_new();
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, live);
        while (g_hash_table_iter_next(&iter, &value, NULL))
                json_array_add_string_element(array, value);
        return array;
}

/* Mounts of checkouts that the worker has just removed show nothing any more. */
static void drop_dead_mounts(ImageStore *s) {
        g_autoptr(GHashTable) live = live_chains(s);
        struct dirent *de;
        DIR *dir;
        int fd;

        fd = openat(s->m->runtime_fd, CHAINS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return;
        dir = fdopendir(fd);
        if (!dir) {
                (void)safe_close(fd);
                return;
        }
        while ((de = readdir(dir)))
                if (digest_valid(de->d_name) && !g_hash_table_contains(live, de->d_name))
                        (void)launcher_drop_chain(s->m->launcher, de->d_name); /* one that has gone has no mounts */
        (void)closedir(dir);
}

static void removal_end(Removal *r, const sd_bus_error *error) {
        ImageStore *s = r->store;

        if (!error && s->m->launcher)
                drop_dead_mounts(s);
        if (error)
                log_warning("Space of image %s in namespace %s is not freed: %s", r->name, r->ns, error->message);
        else
                removal_note_remove(s, r->ns, r->name);
        removal_answer(r, error);
        s->removal = NULL;
        removal_free(r);
}

static void removal_done(StoreOp *op _unused_, JsonObject *result _unused_, const sd_bus_error *error, void *userdata) {
        Removal *r = userdata;
        ImageStore *s = r->store;

        r->op = NULL; /* frees itself */
        removal_end(r, error && !sd_bus_error_has_name(error, error_kind_bus_name(ERROR_NOT_FOUND)) ? error : NULL);
        pump(s);
}

static void removal_start(Removal *r) {
        static const StoreHandlers handlers = { NULL, removal_done };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) request = json_object_new();
        int q;

        r->store->removal = r;
        if (r->store->n_broken > 0) {
                (void)error_precondition(
                        &error,
                        "%u of the records cannot be read, so it is not known what is used; see the journal "
                        "of davitd. The space is freed at its next start after that is put right.",
                        r->store->n_broken);
                removal_end(r, &error);
                return;
        }

        json_object_set_string_member(request, "operation", "remove");
        json_object_set_string_member(request, "namespace", r->ns);
        json_object_set_string_member(request, "name", r->name);
        json_object_set_array_member(request, "live_chains", image_store_live_chains(r->store));
        q = store_op_start(r->store->m->event, request, NULL, 0, &handlers, r, &r->op, &error);
        if (q < 0)
                removal_end(r, &error);
}

/**
 * image_removal_begin() - has the store free what image_remove() has taken away
 * @call: answered when that is done; NULL: nobody waits
 */
int image_removal_begin(ImageStore *s, const char *ns, const char *name, sd_bus_message *call) {
        Removal *r = g_new0(Removal, 1);

        r->store = s;
        r->ns = g_strdup(ns);
        r->name = g_strdup(name);
        r->waiters = g_ptr_array_new_with_free_func(message_unref);
        if (call)
                g_ptr_array_add(r->waiters, sd_bus_message_ref(call));
        g_queue_push_tail(&s->waiting_removals, r);
        pump(s);
        return 0;
}

static int resume_one(const char *name, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;

        return image_removal_begin(ns->manager->image_store, ns->name, name, NULL);
}

/**
 * image_store_start() - once at start, when every namespace is loaded: takes up what earlier managers did not finish
 * @n_broken: records of images and snapshots that cannot be used
 */
void image_store_start(ImageStore *s, unsigned n_broken) {
        GHashTableIter iter;
        void *value;

        s->n_broken = n_broken;
        g_hash_table_iter_init(&iter, s->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                (void)record_foreach(s->m->state_fd, ((Namespace *)value)->name, IMAGE_REMOVALS_KIND, resume_one,
                                     value);
        s->started = true;
        pump(s);
}

/* Starts whatever may run now. */
static void pump(ImageStore *s) {
        Import *i;

        while (import_may_start(s) && (i = g_queue_pop_head(&s->waiting_imports))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                if (import_start(i, &error) >= 0)
                        continue;
                (void)job_finish_error(i->job, error.name, error.message);
                import_free(i);
        }
        while (s->started && !s->removal && g_queue_is_empty(&s->running_imports) &&
               !g_queue_is_empty(&s->waiting_removals))
                removal_start(g_queue_pop_head(&s->waiting_removals));
}
