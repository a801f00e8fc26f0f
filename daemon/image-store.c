/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What images ask of the store: imports, also those of a pull, and saves.
 *
 * They run as jobs in workers of their own (store-job.c). The record of an image is written only after the worker has
 * committed what it names, and before its connection is closed: until then a collection leaves alone what it has
 * published. The limits of [Limits] go with every import. What is in an archive is for the worker alone.
 */

#include <errno.h>
#include <string.h>

#include "daemon/collect.h"
#include "daemon/chain.h"
#include "daemon/error.h"
#include "daemon/image-store.h"
#include "daemon/lease.h"
#include "daemon/record.h"
#include "daemon/store-job.h"
#include "shared/log.h"
#include "shared/macros.h"

typedef struct Import {
        Manager *m;
        char *ns;
        char *name;  /* NULL: the archive's */
        char *lease; /* NULL: none */
} Import;

static void import_free(void *p) {
        Import *i = p;

        g_free(i->ns);
        g_free(i->name);
        g_free(i->lease);
        g_free(i);
}

/* ---- imports ---- */

static GVariant *import_result(GPtrArray *records) {
        g_autoptr(GVariantBuilder) names = g_variant_builder_new(G_VARIANT_TYPE_STRING_ARRAY);
        GVariantDict dict;

        for (guint i = 0; records && i < records->len; i++)
                g_variant_builder_add(names, "s", ((ImageRecord *)g_ptr_array_index(records, i))->name);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Images", g_variant_builder_end(names));
        return g_variant_ref_sink(g_variant_dict_end(&dict));
}

/**
 * image_import_parse() - checks the result of an import
 * @name: the one name there is to be; NULL takes any
 * @ret: ImageRecord, at least one
 */
int image_import_parse(Manager *m, const char *name, JsonObject *result, GPtrArray **ret, sd_bus_error *error) {
        g_autoptr(GPtrArray) records = NULL;
        g_autofree char *why = NULL;
        int r;

        r = image_records_parse(result, &records, &why);
        if (r >= 0 && name &&
            (records->len != 1 || !streq(((ImageRecord *)g_ptr_array_index(records, 0))->name, name))) {
                why = g_strdup("images does not hold the name that was asked for");
                r = -EBADMSG;
        }
        if (r < 0) {
                log_warning("Store worker's result of an import is refused: %s", why);
                collect_schedule(m); /* what the worker has published is garbage */
                return error_set(error, r == -EINVAL ? ERROR_INVALID_ARGUMENT : ERROR_INTERNAL,
                                 "The archive's image cannot be used: %s.", why);
        }
        *ret = g_steal_pointer(&records);
        return 0;
}

/* The worker has committed; now the records. */
static int import_accept(JsonObject *result, void *userdata, GVariant **ret, sd_bus_error *error) {
        g_autoptr(GPtrArray) records = NULL;
        Import *i = userdata;
        Namespace *ns;
        int r;

        r = image_import_parse(i->m, i->name, result, &records, error);
        if (r >= 0)
                r = manager_namespace(i->m, i->ns, true, &ns, error);
        if (r < 0)
                return r;
        *ret = import_result(records);
        g_ptr_array_set_free_func(records, NULL);
        for (guint k = 0; records && k < records->len; k++) {
                ImageRecord *record = g_ptr_array_index(records, k);
                Image *image;
                int q;

                q = image_put(ns, record, &image); /* the rest is put all the same: the store holds it */
                if (q < 0)
                        r = error_set_errno(error, q, "The image was imported, but its record cannot be written");
                else if (i->lease)
                        lease_add_late(i->m, i->ns, i->lease, "image", image->record->name, NULL);
        }
        return r;
}

/** image_import_limits() - limits of the call go before those of the configuration; a new reference */
JsonObject *image_import_limits(const Manager *m, const ImportOptions *options) {
        JsonObject *o = json_object_new();

        for (ConfigLimit l = 0; l < _LIMIT_MAX; l++) {
                uint64_t value = options->limits[l] > 0 ? options->limits[l] : m->config.limits[l];

                if (value > 0)
                        json_object_set_int_member(o, config_limit_name(l), (gint64)value);
        }
        return o;
}

/** image_import_request() - the request of an import; a new reference */
JsonObject *image_import_request(const Manager *m, const ImportOptions *options) {
        JsonObject *o = json_object_new();
        ChainForm form;

        json_object_set_string_member(o, "operation", "import");
        json_object_set_string_member(o, "format", options->format);
        chain_form(m, &form);
        json_object_set_string_member(o, "rootfs", options->rootfs ?: chain_form_word(&form));
        if (options->name)
                json_object_set_string_member(o, "name", options->name);
        if (options->platform)
                json_object_set_string_member(o, "platform", options->platform);
        if (options->size > 0)
                json_object_set_int_member(o, "size", (gint64)options->size);
        json_object_set_object_member(o, "limits", image_import_limits(m, options));
        return o;
}

/**
 * image_import_begin() - starts an import
 * @archive: stays the caller's
 * @ret: a job of type "import"; its result holds Images (as)
 */
int image_import_begin(Manager *m, const char *ns, int archive, const ImportOptions *options, Job **ret,
                       sd_bus_error *error) {
        g_autoptr(JsonObject) request = image_import_request(m, options);
        Import *i = g_new0(Import, 1);
        const StoreWork work = {
                .ns = ns,
                .type = "import",
                .subject = options->name ?: "archive",
                .request = request,
                .fds = &archive,
                .n_fds = 1,
                .accept = import_accept,
                .destroy = import_free,
                .userdata = i,
        };

        *i = (Import){ m, g_strdup(ns), g_strdup(options->name), g_strdup(options->lease) };
        return store_job_begin(m->store_jobs, &work, ret, error);
}

/* ---- saves ---- */

static int save_accept(JsonObject *result, void *userdata _unused_, GVariant **ret, sd_bus_error *error) {
        GVariantDict dict;
        uint64_t bytes;

        if (record_get_u64(result, "bytes", &bytes) < 0)
                return error_internal(error, "The store worker's result cannot be used; see the journal.");
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Bytes", "t", bytes);
        *ret = g_variant_ref_sink(g_variant_dict_end(&dict));
        return 0;
}

/* Names of one image stand together, images in the order in which they are named first. */
static int save_images(Namespace *ns, char **names, JsonArray *images, sd_bus_error *error) {
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);

        for (char **n = names; *n; n++) {
                g_autofree char *key = NULL;
                JsonArray *same;
                Image *image;
                int r;

                r = image_lookup(ns, *n, &image, error);
                if (r < 0)
                        return r;
                if (!g_hash_table_add(taken, image->record->name))
                        continue;
                key = g_strconcat(image->record->digest, image->record->index, NULL);
                same = g_hash_table_lookup(seen, key);
                if (!same) {
                        JsonObject *o = json_object_new();

                        same = json_array_new();
                        json_object_set_string_member(o, "digest", image->record->digest);
                        if (*image->record->index)
                                json_object_set_string_member(o, "index", image->record->index);
                        json_object_set_array_member(o, "names", same);
                        json_array_add_object_element(images, o);
                        g_hash_table_insert(seen, g_steal_pointer(&key), same);
                }
                json_array_add_string_element(same, image->record->name);
        }
        return 0;
}

/**
 * image_save_begin() - starts to write images to a descriptor
 * @names: what image_lookup() finds them by, at least one
 * @output: stays the caller's
 * @ret: a job of type "save"; its result holds Bytes (t)
 */
int image_save_begin(Namespace *ns, char **names, int output, const SaveOptions *options, Job **ret,
                     sd_bus_error *error) {
        g_autoptr(JsonObject) request = json_object_new();
        JsonArray *images = json_array_new();
        const StoreWork work = {
                .ns = ns->name,
                .type = "save",
                .subject = names[0],
                .request = request,
                .fds = &output,
                .n_fds = 1,
                .accept = save_accept,
        };
        int r;

        json_object_set_string_member(request, "operation", "save");
        json_object_set_string_member(request, "format", options->format);
        json_object_set_string_member(request, "compression", options->compression);
        json_object_set_array_member(request, "images", images);
        r = save_images(ns, names, images, error);
        if (r >= 0 && streq(options->format, "rootfs") && json_array_get_length(images) != 1)
                r = error_invalid(error, "A root file system archive holds one image.");
        return r < 0 ? r : store_job_begin(ns->manager->store_jobs, &work, ret, error);
}
