/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Images of a namespace: the table, the records on disk, and names looked up for containers.
 *
 * The store holds the content; davitd holds which name means which content, one record file a name, so that starting a
 * container needs no store worker. A record is written after the store has committed what it names, and removed before
 * the store is asked to drop it, with a note of the removal in between (kind "removals"): whatever a crash leaves is
 * either a whole image or content that the next start frees. Nothing here talks to a worker: that is image-store.c and collect.c.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/image-bus.h"
#include "daemon/collect.h"
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

/**
 * image_lookup() - the image a user means
 * @name: exactly the name of one, or without the ":latest"
 */
int image_lookup(Namespace *ns, const char *name, Image **ret, sd_bus_error *error) {
        _cleanup_free_ char *whole = NULL;
        Image *image;

        image = g_hash_table_lookup(ns->images, name);
        if (!image) {
                if (image_name_normalise(name, &whole) < 0)
                        return error_invalid(error, "\"%s\" is not a valid image name.", name);
                image = g_hash_table_lookup(ns->images, whole);
        }
        if (!image)
                return error_not_found(error, "There is no image \"%s\" in namespace \"%s\"; import it first.", whole,
                                       ns->name);

        *ret = image;
        return 0;
}

/** image_stop_signal() - the signal the image wants to be stopped by, such as "SIGQUIT"; NULL when it names none */
const char *image_stop_signal(const Image *image) {
        const char *s;

        return record_get_string(image->record->config, "StopSignal", &s) >= 0 ? s : NULL;
}

/**
 * image_put() - makes a name mean what @record says, durably
 * @record: taken in any case
 * @ret: the object, new or changed; may be NULL
 */
int image_put(Namespace *ns, ImageRecord *record, Image **ret) {
        g_autoptr(JsonObject) o = NULL;
        Image *image;
        int r;

        record->imported = now_usec(CLOCK_REALTIME);
        o = image_record_to_json(record);
        r = record_write(ns->manager->state_fd, ns->name, KIND, record->name, o, true);
        if (r < 0) {
                (void)log_warning_errno(r, "Cannot write the record of image %s", record->name);
                (void)image_record_free(record);
                return r;
        }

        image = g_hash_table_lookup(ns->images, record->name);
        if (image) {
                image_set_record(image, record);
                image_bus_changed(image);
        } else {
                image = image_add(ns, record);
                image_bus_added(image);
        }
        if (ret)
                *ret = image;
        return 0;
}

/**
 * image_remove() - takes an image away, durably, and notes that its space is still to be freed
 *
 * The caller has made sure that nobody uses it. On success @image is freed.
 */
int image_remove(Image *image, sd_bus_error *error) {
        g_autoptr(JsonObject) note = json_object_new();
        Namespace *ns = image->ns;
        const char *name = image->record->name;
        int r;

        r = record_write(ns->manager->state_fd, ns->name, IMAGE_REMOVALS_KIND, name, note, true);
        if (r >= 0)
                r = record_remove(ns->manager->state_fd, ns->name, KIND, name, true);
        if (r < 0)
                return error_set_errno(error, r, "Cannot remove the record of image \"%s\"", name);

        image_bus_removed(image);
        g_hash_table_remove(ns->images, name);
        return 0;
}
