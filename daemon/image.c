/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Images of a namespace: the table, and the records on disk, which names are given, changed and taken away in.
 *
 * The store holds the content; davitd holds which name means which content, one record file a name, so that starting a
 * container needs no store worker. A record is written after the store has committed what it names; before one is
 * removed a collection is marked as due: whatever a crash leaves is either a whole image or content that the next start
 * frees. Nothing here talks to a worker: that is image-store.c and collect.c.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/image-bus.h"
#include "daemon/image.h"
#include "daemon/record.h"
#include "shared/image-name.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"

#define KIND "images"

static void image_free(void *p) {
        Image *image = p;

        (void)image_record_free(image->record);
        g_clear_pointer(&image->labels, g_hash_table_unref);
        g_free(image->path);
        g_free(image);
}

/** images_init() - an empty table */
void images_init(Namespace *ns) {
        ns->images = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, image_free);
}

/** images_done() - drops the table; the records stay */
void images_done(Namespace *ns) {
        g_clear_pointer(&ns->images, g_hash_table_unref);
}

/* Takes the record: what the object says from now on. */
static void image_set_record(Image *image, ImageRecord *record) {
        (void)image_record_free(image->record);
        image->record = record;
        g_clear_pointer(&image->labels, g_hash_table_unref);
        if (record_get_labels(record->config, "Labels", &image->labels) < 0)
                image->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

static Image *image_add(Namespace *ns, ImageRecord *record) {
        Image *image = g_new0(Image, 1);

        image->ns = ns;
        image->path = bus_object_path(ns->name, "image", record->name);
        image_set_record(image, record);
        g_hash_table_insert(ns->images, g_strdup(record->name), image);
        return image;
}

static int load_one(const char *name, JsonObject *o, void *userdata) {
        g_autoptr(ImageRecord) record = NULL;
        g_autofree char *why = NULL;
        Namespace *ns = userdata;
        int r;

        r = image_record_parse(o, &record, &why);
        if (r >= 0 && !streq(record->name, name)) {
                why = g_strdup("name is not in its normal form");
                r = -EBADMSG;
        }
        if (r < 0) {
                log_warning("Record of image %s in namespace %s: %s", name, ns->name, why);
                return r;
        }

        (void)image_add(ns, g_steal_pointer(&record));
        return 0;
}

/** images_load() - reads the records of a namespace; returns how many cannot be used, each of them is logged */
int images_load(Namespace *ns) {
        return record_foreach(ns->manager->state_fd, ns->name, KIND, load_one, ns);
}

/** image_stop_signal() - the signal the image wants to be stopped by, such as "SIGQUIT"; NULL when it names none */
const char *image_stop_signal(const Image *image) {
        const char *s;

        return record_get_string(image->record->config, "StopSignal", &s) >= 0 ? s : NULL;
}

static int write_record(Namespace *ns, const ImageRecord *record) {
        g_autoptr(JsonObject) o = image_record_to_json(record);
        int r;

        r = record_write(ns->manager->state_fd, ns->name, KIND, record->name, o, true);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot write the record of image %s", record->name);
        return r;
}

/* Durable, then seen; takes the record in any case. */
static int put(Namespace *ns, ImageRecord *record, Image **ret) {
        Image *image = g_hash_table_lookup(ns->images, record->name);
        bool other = image && !streq(image->record->digest, record->digest);
        int r = 0;

        if (other)
                r = collect_mark(ns->manager); /* what the name meant may be needed no more */
        if (r >= 0)
                r = write_record(ns, record);
        if (r < 0) {
                (void)image_record_free(record);
                return r;
        }

        if (image) {
                image_set_record(image, record);
                image_bus_changed(image);
        } else {
                image = image_add(ns, record);
                image_bus_added(image);
        }
        contents_derive(ns, true);
        if (other)
                collect_schedule(ns->manager);
        if (ret)
                *ret = image;
        return 0;
}

/**
 * image_put() - makes a name mean what @record says, durably
 * @record: taken in any case
 * @ret: the object, new or changed; may be NULL
 *
 * A name that is pinned stays pinned, whatever it means now.
 */
int image_put(Namespace *ns, ImageRecord *record, Image **ret) {
        Image *image = g_hash_table_lookup(ns->images, record->name);

        record->imported = now_usec(CLOCK_REALTIME);
        record->pinned = image && image->record->pinned;
        return put(ns, record, ret);
}

/* A record like the image's for another name, which may carry the right digest only. */
static int named_copy(Image *image, const char *name, ImageRecord **ret, sd_bus_error *error) {
        const char *at = strchr(name, '@');

        if (at && !image_record_has_digest(image->record, at + 1))
                return error_invalid(error, "\"%s\" carries a digest that is not that of image \"%s\".", name,
                                     image->record->name);
        *ret = image_record_copy(image->record, name);
        if (!*ret)
                return error_invalid(error, "\"%s\" is not a valid image name: %s.", name, image_name_why(name));
        (*ret)->imported = image->record->imported;
        return 0;
}

/**
 * image_tag() - one more name for what an image means
 * @name: one that is there already gets the new meaning, unless it is pinned to another one
 */
int image_tag(Image *image, const char *name, Image **ret, sd_bus_error *error) {
        ImageRecord *record = NULL;
        Image *other;
        int r;

        r = named_copy(image, name, &record, error);
        if (r < 0 || !record)
                return r;
        other = g_hash_table_lookup(image->ns->images, record->name);
        if (other && other->record->pinned && !streq(other->record->digest, record->digest)) {
                r = error_precondition(error, "Image \"%s\" is pinned; unpin it first.", record->name);
                (void)image_record_free(record);
                return r;
        }
        if (other && streq(other->record->digest, record->digest)) {
                (void)image_record_free(record);
                *ret = other;
                return 0;
        }
        r = put(image->ns, record, ret);
        return r < 0 ? error_set_errno(error, r, "The record of image \"%s\" cannot be written", name) : 0;
}

/**
 * image_rename() - another name instead of the image's own; a crash in between leaves both
 * @ret: the object of the new name; on success @image is freed
 */
int image_rename(Image *image, const char *name, Image **ret, sd_bus_error *error) {
        Namespace *ns = image->ns;
        ImageRecord *record = NULL;
        int r;

        r = named_copy(image, name, &record, error);
        if (r < 0 || !record)
                return r;
        if (g_hash_table_contains(ns->images, record->name)) {
                r = error_exists(error, "There is an image \"%s\" in namespace \"%s\" already.", record->name,
                                 ns->name);
                (void)image_record_free(record);
                return r;
        }
        record->pinned = image->record->pinned;
        r = put(ns, record, ret);
        if (r < 0)
                return error_set_errno(error, r, "The record of image \"%s\" cannot be written", name);
        r = record_remove(ns->manager->state_fd, ns->name, KIND, image->record->name, true);
        if (r < 0)
                return error_set_errno(error, r, "The record of image \"%s\" cannot be removed, both names are there",
                                       image->record->name);
        image_bus_removed(image);
        g_hash_table_remove(ns->images, image->record->name);
        contents_derive(ns, true);
        return 0;
}

/** image_set_pinned() - whether the image is kept from deletion and from pruning, durably */
int image_set_pinned(Image *image, bool pinned, sd_bus_error *error) {
        int r;

        if (image->record->pinned == pinned)
                return 0;
        image->record->pinned = pinned;
        r = write_record(image->ns, image->record);
        if (r < 0) {
                image->record->pinned = !pinned;
                return error_set_errno(error, r, "The record of image \"%s\" cannot be written", image->record->name);
        }
        image_bus_pinned(image);
        return 0;
}

/**
 * image_remove() - takes an image away, durably, and marks a collection as due; to schedule it is the caller's
 *
 * The caller has made sure that nobody uses it. On success @image is freed.
 */
int image_remove(Image *image, sd_bus_error *error) {
        Namespace *ns = image->ns;
        const char *name = image->record->name;
        int r;

        r = collect_mark(ns->manager);
        if (r >= 0)
                r = record_remove(ns->manager->state_fd, ns->name, KIND, name, true);
        if (r < 0)
                return error_set_errno(error, r, "Cannot remove the record of image \"%s\"", name);

        image_bus_removed(image);
        g_hash_table_remove(ns->images, name);
        contents_derive(ns, true);
        return 0;
}
