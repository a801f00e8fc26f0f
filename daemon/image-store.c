/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What images ask of the store: imports.
 *
 * An import runs as a job in a worker of its own, a handful at a time; those that come too soon wait here. A manager
 * that ends closes the connections, which stops the workers. A record is written only after the worker has committed
 * what it names, and before its connection is closed: until then a collection leaves alone what it has published.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image-store.h"
#include "daemon/record.h"
#include "daemon/store-client.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"

/* Workers at a time: more would only take memory from each other, and the socket has a limit of its own. */
#define IMPORTS_MAX 8U

typedef struct Import {
        ImageStore *store;
        Job *job;
        char *ns;
        char *name; /* NULL: the archive's */
        int archive;
        JsonObject *request;
        StoreOp *op; /* NULL: waits */
} Import;

struct ImageStore {
        Manager *m;
        GQueue waiting_imports;
        GQueue running_imports;
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

/** image_store_new() - nothing running */
int image_store_new(Manager *m, ImageStore **ret) {
        ImageStore *s = g_new0(ImageStore, 1);

        s->m = m;
        g_queue_init(&s->waiting_imports);
        g_queue_init(&s->running_imports);
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
                collect_schedule(i->store->m); /* what the worker has published is garbage */
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
        return s->running_imports.length < IMPORTS_MAX;
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

static JsonObject *import_request(const ImportOptions *options) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "operation", "import");
        json_object_set_string_member(o, "format", options->format);
        json_object_set_string_member(o, "rootfs", "checkout");
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
        i->request = import_request(options);
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

/* Starts the imports that may run now. */
static void pump(ImageStore *s) {
        Import *i;

        while (import_may_start(s) && (i = g_queue_pop_head(&s->waiting_imports))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                if (import_start(i, &error) >= 0)
                        continue;
                (void)job_finish_error(i->job, error.name, error.message);
                import_free(i);
        }
}
