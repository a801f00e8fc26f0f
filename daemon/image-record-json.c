/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Image records as JSON: what davitd writes into its files, in the form image_record_parse() reads.
 *
 * Members whose value says nothing are left out, so a record of an image with one platform is as short as before there
 * were more. Paths are never written: they follow from the chain id.
 */

#include "daemon/image-record.h"
#include "shared/macros.h"

static JsonArray *layers_to_json(GArray *layers) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < layers->len; i++) {
                const ImageLayer *layer = &g_array_index(layers, ImageLayer, i);
                JsonObject *o = json_object_new();

                json_object_set_string_member(o, "diff_id", layer->diff_id);
                json_object_set_string_member(o, "digest", layer->digest);
                json_object_set_int_member(o, "size", (gint64)layer->size);
                json_array_add_object_element(array, o);
        }
        return array;
}

static JsonArray *history_to_json(GArray *history) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < history->len; i++) {
                const ImageHistory *h = &g_array_index(history, ImageHistory, i);
                const struct {
                        const char *key, *value;
                } texts[] = { { "created_by", h->created_by }, { "author", h->author }, { "comment", h->comment } };
                JsonObject *o = json_object_new();

                json_object_set_int_member(o, "created", (gint64)h->created);
                for (size_t k = 0; k < ELEMENTSOF(texts); k++)
                        if (*texts[k].value)
                                json_object_set_string_member(o, texts[k].key, texts[k].value);
                if (h->empty_layer)
                        json_object_set_boolean_member(o, "empty_layer", true);
                json_array_add_object_element(array, o);
        }
        return array;
}

static JsonObject *platform_to_json(const ImageRecord *record) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "os", record->os);
        json_object_set_string_member(o, "architecture", record->architecture);
        if (*record->variant)
                json_object_set_string_member(o, "variant", record->variant);
        return o;
}

static JsonObject *rootfs_to_json(const ImageRecord *record) {
        JsonObject *o = json_object_new(), *root = json_object_new();

        json_object_set_int_member(root, "uid", record->root_uid);
        json_object_set_int_member(root, "gid", record->root_gid);
        json_object_set_int_member(root, "mode", record->root_mode);
        json_object_set_object_member(o, "root", root);
        return o;
}

static JsonObject *one_to_json(const ImageRecord *record) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "digest", record->digest);
        json_object_set_string_member(o, "config_digest", record->config_digest);
        json_object_set_string_member(o, "media_type", record->media_type);
        json_object_set_object_member(o, "platform", platform_to_json(record));
        json_object_set_int_member(o, "size", (gint64)record->size);
        json_object_set_int_member(o, "manifest_size", (gint64)record->manifest_size);
        json_object_set_int_member(o, "config_size", (gint64)record->config_size);
        json_object_set_int_member(o, "created", (gint64)record->created);
        json_object_set_array_member(o, "layers", layers_to_json(record->layers));
        json_object_set_string_member(o, "chain_id", record->chain_id);
        json_object_set_object_member(o, "rootfs", rootfs_to_json(record));
        json_object_set_object_member(o, "config", json_object_ref(record->config));
        if (record->history->len > 0)
                json_object_set_array_member(o, "history", history_to_json(record->history));
        return o;
}

/** image_record_to_json() - the object image_record_parse() reads; a new reference, the configuration is shared */
JsonObject *image_record_to_json(const ImageRecord *record) {
        JsonObject *o = one_to_json(record);

        json_object_set_string_member(o, "name", record->name);
        json_object_set_int_member(o, "imported", (gint64)record->imported);
        if (record->pinned)
                json_object_set_boolean_member(o, "pinned", true);
        if (*record->index)
                json_object_set_string_member(o, "index", record->index);
        if (*record->source)
                json_object_set_string_member(o, "source", record->source);
        if (record->platforms->len > 0) {
                JsonArray *array = json_array_new();

                for (guint i = 0; i < record->platforms->len; i++)
                        json_array_add_object_element(array, one_to_json(g_ptr_array_index(record->platforms, i)));
                json_object_set_array_member(o, "platforms", array);
        }
        return o;
}

/** image_record_copy() - the same image under another name, in its normal form, and not pinned; NULL where it is none
 */
ImageRecord *image_record_copy(const ImageRecord *record, const char *name) {
        g_autoptr(JsonObject) o = image_record_to_json(record);
        ImageRecord *copy = NULL;

        json_object_set_string_member(o, "name", name);
        if (json_object_has_member(o, "pinned"))
                json_object_remove_member(o, "pinned");
        return image_record_parse(o, &copy, NULL) >= 0 ? copy : NULL;
}

/** image_record_has_digest() - whether NAME@DIGEST may mean this image */
bool image_record_has_digest(const ImageRecord *record, const char *digest) {
        return streq(record->digest, digest) || streq(record->index, digest) || streq(record->source, digest);
}

/** image_record_foreach_platform() - the image itself, then each further platform of its index */
void image_record_foreach_platform(const ImageRecord *record, void (*visit)(const ImageRecord *one, void *userdata),
                                   void *userdata) {
        visit(record, userdata);
        for (guint i = 0; i < record->platforms->len; i++)
                visit(g_ptr_array_index(record->platforms, i), userdata);
}
