/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks what a store worker says about an image, field by field.
 *
 * The worker has read an archive written by strangers and may have been taken over by it, so nothing it returns is
 * believed: every member has a type, a limit and a form, the chain id is computed again from the diff ids, the path of
 * a root file system can only be one that belongs to the chain id (and is not kept: it follows from that), and the
 * configuration is built anew from the members that are known. The same check reads davitd's own record files; members
 * that came later than a record are what an image without them has. An ImageRecord that exists has passed it.
 *
 * Nothing here reads a file or logs; what was wrong is returned as a phrase that names the member.
 */

#include <errno.h>
#include <string.h>

#include "daemon/image-config.h"
#include "daemon/image-record.h"
#include "shared/image-name.h"
#include "shared/macros.h"
#include "shared/name.h"

#define MEDIA_TYPE_MAX 128U
#define PLATFORM_MAX 32U
#define SIZE_MAX_BYTES (UINT64_C(1) << 50)
#define CREATED_MAX (UINT64_C(1) << 53) /* the year 2255 */
#define HISTORY_TEXT_MAX (64U * 1024U)
#define DIGEST_HEX_AT strlen("sha256:")

static void layer_clear(void *p) {
        ImageLayer *layer = p;

        g_free(layer->diff_id);
        g_free(layer->digest);
}

static void history_clear(void *p) {
        ImageHistory *h = p;

        g_free(h->created_by);
        g_free(h->author);
        g_free(h->comment);
}

static void record_free(void *p) {
        (void)image_record_free(p);
}

/** image_record_free() - frees a record; NULL is fine */
ImageRecord *image_record_free(ImageRecord *record) {
        if (!record)
                return NULL;

        g_free(record->name);
        g_free(record->digest);
        g_free(record->config_digest);
        g_free(record->media_type);
        g_free(record->os);
        g_free(record->architecture);
        g_free(record->variant);
        g_free(record->platform);
        g_free(record->chain_id);
        g_free(record->index);
        g_free(record->source);
        g_clear_pointer(&record->layers, g_array_unref);
        g_clear_pointer(&record->history, g_array_unref);
        g_clear_pointer(&record->platforms, g_ptr_array_unref);
        g_clear_pointer(&record->config, json_object_unref);
        g_free(record);
        return NULL;
}

static int refuse(char **why, const char *member, const char *what) {
        if (why && !*why)
                *why = g_strdup_printf("%s %s", member, what);
        return -EBADMSG;
}

static int get_string(JsonObject *o, const char *key, bool needed, char **ret, char **why) {
        JsonNode *node = json_object_get_member(o, key);

        if (!node || JSON_NODE_HOLDS_NULL(node)) {
                if (needed)
                        return refuse(why, key, "is missing");
                *ret = g_strdup("");
                return 0;
        }
        if (json_node_get_value_type(node) != G_TYPE_STRING)
                return refuse(why, key, "is not a string");

        *ret = json_node_dup_string(node);
        return 0;
}

static int get_digest(JsonObject *o, const char *key, char **ret, char **why) {
        int r;

        r = get_string(o, key, true, ret, why);
        if (r < 0)
                return r;
        return digest_valid(*ret) ? 0 : refuse(why, key, "is not \"sha256:\" with 64 hexadecimal digits");
}

/* A short word: letters, digits and the characters of @more. */
static int get_word(JsonObject *o, const char *key, bool needed, size_t max, const char *more, char **ret, char **why) {
        int r;

        r = get_string(o, key, needed, ret, why);
        if (r < 0)
                return r;
        if (!*ret || strlen(*ret) > max || (needed && !**ret))
                return refuse(why, key, "is empty or too long");

        for (const char *p = *ret; *p; p++)
                if (!g_ascii_isalnum(*p) && !strchr(more, *p))
                        return refuse(why, key, "holds a character that does not belong there");
        return 0;
}

static int get_number(JsonObject *o, const char *key, bool needed, uint64_t max, uint64_t *ret, char **why) {
        JsonNode *node = json_object_get_member(o, key);
        gint64 value;

        if (!node) {
                *ret = 0;
                return needed ? refuse(why, key, "is missing") : 0;
        }
        if (json_node_get_value_type(node) != G_TYPE_INT64)
                return refuse(why, key, "is not a whole number");

        value = json_node_get_int(node);
        if (value < 0 || (uint64_t)value > max)
                return refuse(why, key, "is out of range");
        *ret = (uint64_t)value;
        return 0;
}

static int get_object(JsonObject *o, const char *key, JsonObject **ret, char **why) {
        JsonNode *node = json_object_get_member(o, key);

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return refuse(why, key, "is not an object");

        *ret = json_node_get_object(node);
        return 0;
}

static int parse_name(JsonObject *o, ImageRecord *record, char **why) {
        g_autofree char *name = NULL;
        int r;

        r = get_string(o, "name", true, &name, why);
        if (r < 0)
                return r;

        r = image_name_normalise(name, &record->name);
        return r >= 0 ? 0 : refuse(why, "name", "is not a valid image name");
}

static int parse_platform(JsonObject *o, ImageRecord *record, char **why) {
        JsonObject *platform = NULL;
        int r;

        r = get_object(o, "platform", &platform, why);
        if (r >= 0)
                r = get_word(platform, "os", true, PLATFORM_MAX, "._-", &record->os, why);
        if (r >= 0)
                r = get_word(platform, "architecture", true, PLATFORM_MAX, "._-", &record->architecture, why);
        if (r >= 0)
                r = get_word(platform, "variant", false, PLATFORM_MAX, "._-", &record->variant, why);
        if (r < 0)
                return r;

        record->platform = g_strconcat(record->os, "/", record->architecture, *record->variant ? "/" : NULL,
                                       record->variant, NULL);
        return 0;
}

static int parse_layer(JsonNode *node, ImageLayer *layer, char **why) {
        JsonObject *o;
        int r;

        if (!JSON_NODE_HOLDS_OBJECT(node))
                return refuse(why, "layers", "holds something that is not an object");

        o = json_node_get_object(node);
        r = get_digest(o, "diff_id", &layer->diff_id, why);
        if (r >= 0)
                r = get_digest(o, "digest", &layer->digest, why);
        if (r >= 0)
                r = get_number(o, "size", true, SIZE_MAX_BYTES, &layer->size, why);
        return r;
}

static int parse_layers(JsonObject *o, ImageRecord *record, char **why) {
        JsonNode *node = json_object_get_member(o, "layers");
        JsonArray *array;
        guint n;
        int r = 0;

        if (!node || !JSON_NODE_HOLDS_ARRAY(node))
                return refuse(why, "layers", "is not an array");
        array = json_node_get_array(node);
        n = json_array_get_length(array);
        if (n == 0 || n > IMAGE_LAYERS_MAX)
                return refuse(why, "layers", "is empty or too long");

        record->layers = g_array_sized_new(FALSE, TRUE, sizeof(ImageLayer), n);
        g_array_set_clear_func(record->layers, layer_clear);
        for (guint i = 0; i < n && r >= 0; i++) {
                g_array_set_size(record->layers, i + 1);
                r = parse_layer(json_array_get_element(array, i), &g_array_index(record->layers, ImageLayer, i), why);
        }
        return r;
}

/* OCI image-spec config.md, "Layer ChainID": ChainID(n) = SHA256(ChainID(n-1) + " " + DiffID(n)). */
static char *chain_id_of(GArray *layers) {
        g_autofree char *chain = g_strdup(g_array_index(layers, ImageLayer, 0).diff_id);

        for (guint i = 1; i < layers->len; i++) {
                g_autofree char *pair = g_strconcat(chain, " ", g_array_index(layers, ImageLayer, i).diff_id, NULL);
                g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, pair, -1);

                g_free(chain);
                chain = g_strconcat("sha256:", sum, NULL);
        }
        return g_steal_pointer(&chain);
}

static int parse_chain(JsonObject *o, ImageRecord *record, char **why) {
        g_autofree char *expected = chain_id_of(record->layers);
        int r;

        r = get_digest(o, "chain_id", &record->chain_id, why);
        if (r < 0)
                return r;
        return streq(expected, record->chain_id) ? 0 : refuse(why, "chain_id", "is not that of the layers");
}

static int parse_root(JsonObject *rootfs, ImageRecord *record, char **why) {
        uint64_t uid, gid, mode;
        JsonObject *root;
        int r;

        record->root_mode = 0755;
        if (!json_object_has_member(rootfs, "root"))
                return 0;

        r = get_object(rootfs, "root", &root, why);
        if (r >= 0)
                r = get_number(root, "uid", true, UINT32_MAX - 1, &uid, why);
        if (r >= 0)
                r = get_number(root, "gid", true, UINT32_MAX - 1, &gid, why);
        if (r >= 0)
                r = get_number(root, "mode", true, 07777, &mode, why);
        if (r < 0)
                return r;

        record->root_uid = (uid_t)uid;
        record->root_gid = (gid_t)gid;
        record->root_mode = (mode_t)mode;
        return 0;
}

/* What the worker says about where it has put things may be missing, but must not differ from what follows from the
 * chain id. */
static int check_place(JsonObject *rootfs, const char *chain_id, char **why) {
        static const struct {
                const char *form, *directory;
        } forms[] = {
                { "", NULL },
                { "erofs", DAVIT_STATE_DIR "/erofs/" },
                { "checkout", DAVIT_STATE_DIR "/checkouts/" },
        };
        g_autofree char *form = NULL, *path = NULL;
        int r;

        r = get_string(rootfs, "form", false, &form, why);
        if (r >= 0)
                r = get_string(rootfs, "path", false, &path, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                g_autofree char *expected = NULL;

                if (!streq(form, forms[i].form))
                        continue;
                expected =
                        g_strconcat(forms[i].directory ?: "", forms[i].directory ? chain_id + DIGEST_HEX_AT : "", NULL);
                return !*path || streq(path, expected)
                               ? 0
                               : refuse(why, "rootfs", "has a path that is not that of the chain");
        }
        return refuse(why, "rootfs", "has a form that is not known");
}

static int parse_rootfs(JsonObject *o, ImageRecord *record, char **why) {
        JsonObject *rootfs = NULL;
        int r;

        r = get_object(o, "rootfs", &rootfs, why);
        if (r >= 0)
                r = check_place(rootfs, record->chain_id, why);
        return r < 0 ? r : parse_root(rootfs, record, why);
}

static int get_bool(JsonObject *o, const char *key, bool *ret, char **why) {
        JsonNode *node = json_object_get_member(o, key);

        *ret = false;
        if (!node)
                return 0;
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
                return refuse(why, key, "is not a boolean");
        *ret = json_node_get_boolean(node);
        return 0;
}

/* The elements of an array that may be missing; NULL when it is. */
static int get_array(JsonObject *o, const char *key, guint max, JsonArray **ret, char **why) {
        JsonNode *node = json_object_get_member(o, key);

        *ret = NULL;
        if (!node)
                return 0;
        if (!JSON_NODE_HOLDS_ARRAY(node))
                return refuse(why, key, "is not an array");
        *ret = json_node_get_array(node);
        if (json_array_get_length(*ret) > max)
                return refuse(why, key, "is too long");
        for (guint i = 0; i < json_array_get_length(*ret); i++)
                if (!JSON_NODE_HOLDS_OBJECT(json_array_get_element(*ret, i)))
                        return refuse(why, key, "holds something that is not an object");
        return 0;
}

static int get_text(JsonObject *o, const char *key, char **ret, char **why) {
        int r;

        r = get_string(o, key, false, ret, why);
        if (r < 0)
                return r;
        return strlen(*ret) <= HISTORY_TEXT_MAX ? 0 : refuse(why, key, "is too long");
}

static int parse_history(JsonObject *o, ImageRecord *record, char **why) {
        JsonArray *array;
        int r;

        record->history = g_array_new(FALSE, TRUE, sizeof(ImageHistory));
        g_array_set_clear_func(record->history, history_clear);
        r = get_array(o, "history", IMAGE_HISTORY_MAX, &array, why);
        for (guint i = 0; array && i < json_array_get_length(array) && r >= 0; i++) {
                JsonObject *step = json_array_get_object_element(array, i);
                ImageHistory *h;

                g_array_set_size(record->history, i + 1);
                h = &g_array_index(record->history, ImageHistory, i);
                r = get_number(step, "created", false, CREATED_MAX, &h->created, why);
                if (r >= 0)
                        r = get_text(step, "created_by", &h->created_by, why);
                if (r >= 0)
                        r = get_text(step, "author", &h->author, why);
                if (r >= 0)
                        r = get_text(step, "comment", &h->comment, why);
                if (r >= 0)
                        r = get_bool(step, "empty_layer", &h->empty_layer, why);
        }
        return r;
}

static int parse_config(JsonObject *o, ImageRecord *record, char **why) {
        JsonObject *config;
        int r;

        r = get_object(o, "config", &config, why);
        if (r < 0)
                return r;
        return image_config_check(config, &record->config, why) < 0 ? -EINVAL : 0;
}

/* What an image of one platform has, with or without a name of its own. */
static int parse_one(JsonObject *o, ImageRecord *record, char **why) {
        static int (*const parts[])(JsonObject * o, ImageRecord * record, char **why) = {
                parse_platform, parse_layers, parse_chain, parse_rootfs, parse_config, parse_history,
        };
        int r;

        r = get_digest(o, "digest", &record->digest, why);
        if (r >= 0)
                r = get_digest(o, "config_digest", &record->config_digest, why);
        if (r >= 0)
                r = get_word(o, "media_type", true, MEDIA_TYPE_MAX, "./+-", &record->media_type, why);
        if (r >= 0)
                r = get_number(o, "size", true, SIZE_MAX_BYTES, &record->size, why);
        if (r >= 0)
                r = get_number(o, "manifest_size", false, SIZE_MAX_BYTES, &record->manifest_size, why);
        if (r >= 0)
                r = get_number(o, "config_size", false, SIZE_MAX_BYTES, &record->config_size, why);
        if (r >= 0)
                r = get_number(o, "created", false, CREATED_MAX, &record->created, why);
        for (size_t i = 0; i < ELEMENTSOF(parts) && r >= 0; i++)
                r = parts[i](o, record, why);
        return r;
}

/* The index, and what it holds beside this image. */
static int parse_index(JsonObject *o, ImageRecord *record, char **why) {
        JsonArray *array;
        int r;

        record->platforms = g_ptr_array_new_with_free_func(record_free);
        r = get_string(o, "index", false, &record->index, why);
        if (r >= 0 && *record->index && !digest_valid(record->index))
                r = refuse(why, "index", "is not a digest");
        if (r >= 0)
                r = get_array(o, "platforms", IMAGE_PLATFORMS_MAX, &array, why);
        if (r >= 0)
                r = get_string(o, "source", false, &record->source, why);
        if (r >= 0 && *record->source && !digest_valid(record->source))
                r = refuse(why, "source", "is not a digest");
        for (guint i = 0; r >= 0 && array && i < json_array_get_length(array); i++) {
                ImageRecord *one = g_new0(ImageRecord, 1);

                g_ptr_array_add(record->platforms, one);
                r = parse_one(json_array_get_object_element(array, i), one, why);
        }
        return r;
}

/**
 * image_record_parse() - checks one IMAGE of shared/store-protocol.h, or a record file's object
 * @ret_why: what is wrong, to be freed; may be NULL
 *
 * Members that are not known are left out. Return: 0, -EINVAL where the archive's author is to blame (the
 * configuration), or -EBADMSG where only the worker can be.
 */
int image_record_parse(JsonObject *o, ImageRecord **ret, char **ret_why) {
        g_autoptr(ImageRecord) record = g_new0(ImageRecord, 1);
        int r;

        r = parse_one(o, record, ret_why);
        if (r >= 0)
                r = parse_name(o, record, ret_why);
        if (r >= 0)
                r = parse_index(o, record, ret_why);
        if (r >= 0)
                r = get_number(o, "imported", false, CREATED_MAX, &record->imported, ret_why);
        if (r >= 0)
                r = get_bool(o, "pinned", &record->pinned, ret_why);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&record);
        return 0;
}

/** image_records_parse() - checks the result of an import, {"images":[IMAGE...]}: at least one, no name twice */
int image_records_parse(JsonObject *result, GPtrArray **ret, char **ret_why) {
        g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func(record_free);
        g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
        JsonNode *node = json_object_get_member(result, "images");
        JsonArray *array;
        guint n;

        if (!node || !JSON_NODE_HOLDS_ARRAY(node))
                return refuse(ret_why, "images", "is not an array");
        array = json_node_get_array(node);
        n = json_array_get_length(array);
        if (n == 0 || n > IMAGE_RESULT_MAX)
                return refuse(ret_why, "images", "is empty or too long");

        for (guint i = 0; i < n; i++) {
                JsonNode *element = json_array_get_element(array, i);
                g_autoptr(ImageRecord) record = NULL;
                int r;

                if (!JSON_NODE_HOLDS_OBJECT(element))
                        return refuse(ret_why, "images", "holds something that is not an object");
                r = image_record_parse(json_node_get_object(element), &record, ret_why);
                if (r < 0)
                        return r;
                record->pinned = false; /* not the worker's to say */
                if (!g_hash_table_add(names, record->name))
                        return refuse(ret_why, "images", "holds a name twice");
                g_ptr_array_add(records, g_steal_pointer(&record));
        }
        *ret = g_steal_pointer(&records);
        return 0;
}
