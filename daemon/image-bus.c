/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of images: org.davit.Davit1.Image and the Manager's methods about images.
 *
 * Decodes calls, asks image.c, encodes what it says. Archives are the matter of image-store-bus.c.
 */

#include <string.h>

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/image-bus.h"
#include "daemon/lease.h"
#include "daemon/objects.h"
#include "shared/image-name.h"
#include "shared/macros.h"

static const ObjectTable objects = OBJECT_TABLE("image", "Image", images, Image, path);

/* ---- properties ---- */

static const struct {
        const char *property;
        size_t offset;
} strings[] = {
        { "Name", offsetof(ImageRecord, name) },
        { "Digest", offsetof(ImageRecord, digest) },
        { "ConfigDigest", offsetof(ImageRecord, config_digest) },
        { "ChainId", offsetof(ImageRecord, chain_id) },
        { "Platform", offsetof(ImageRecord, platform) },
        { "Index", offsetof(ImageRecord, index) },
};

static int get_string(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        const Image *image = userdata;

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (streq(property, strings[i].property))
                        return sd_bus_message_append(reply, "s",
                                                     *(char *const *)((const char *)image->record + strings[i].offset));
        return sd_bus_message_append(reply, "s", image->ns->name);
}

static int get_number(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        const ImageRecord *record = ((const Image *)userdata)->record;

        return sd_bus_message_append(reply, "t",
                                     streq(property, "Size")        ? record->size
                                     : streq(property, "CreatedAt") ? record->created
                                                                    : record->imported);
}

static int get_layers(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property _unused_, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error _unused_) {
        GArray *layers = ((const Image *)userdata)->record->layers;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(sst)");
        for (guint i = 0; i < layers->len && r >= 0; i++) {
                const ImageLayer *l = &g_array_index(layers, ImageLayer, i);

                r = sd_bus_message_append(reply, "(sst)", l->diff_id, l->digest, l->size);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_config(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property _unused_, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error _unused_) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        g_autofree char *text = NULL;

        json_node_set_object(node, ((const Image *)userdata)->record->config);
        text = json_to_string(node, FALSE);
        return sd_bus_message_append(reply, "s", text);
}

static int get_pinned(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                      const char *property _unused_, sd_bus_message *reply, void *userdata,
                      sd_bus_error *error _unused_) {
        return sd_bus_message_append(reply, "b", ((const Image *)userdata)->record->pinned);
}

static int get_history(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                       const char *property _unused_, sd_bus_message *reply, void *userdata,
                       sd_bus_error *error _unused_) {
        GArray *history = ((const Image *)userdata)->record->history;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(tsssb)");
        for (guint i = 0; i < history->len && r >= 0; i++) {
                const ImageHistory *h = &g_array_index(history, ImageHistory, i);

                r = sd_bus_message_append(reply, "(tsssb)", h->created, h->created_by, h->author, h->comment,
                                          h->empty_layer);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void append_platform(const ImageRecord *one, void *userdata) {
        g_ptr_array_add(userdata, one->platform);
}

static int get_platforms(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                         const char *property _unused_, sd_bus_message *reply, void *userdata,
                         sd_bus_error *error _unused_) {
        g_autoptr(GPtrArray) platforms = g_ptr_array_new();

        image_record_foreach_platform(((const Image *)userdata)->record, append_platform, platforms);
        g_ptr_array_add(platforms, NULL);
        return sd_bus_message_append_strv(reply, (char **)platforms->pdata);
}

/* ---- Image.Tag, Rename, SetPinned ---- */

static int method_tag(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        Image *image;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = image_tag(userdata, name, &image, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", image->path);
}

static int refuse_used(const Image *image, sd_bus_error *error) {
        const char *user = image_user(image);

        return user ? error_precondition(error, "Image \"%s\" is used by container \"%s\"; delete that first.",
                                         image->record->name, user)
                    : 0;
}

static int refuse_leased(const Image *image, const char *hint, sd_bus_error *error) {
        const Lease *lease = lease_of(image->ns, "image", image->record->name);

        return lease ? error_precondition(error, "Image \"%s\" is held by lease \"%s\"%s.", image->record->name,
                                          lease->id, hint)
                     : 0;
}

static int method_rename(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        Image *image;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = refuse_used(userdata, error);
        if (r >= 0)
                r = refuse_leased(userdata, "", error);
        if (r >= 0)
                r = image_rename(userdata, name, &image, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", image->path);
}

static int method_set_pinned(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int pinned, r;

        r = sd_bus_message_read(m, "b", &pinned);
        if (r >= 0)
                r = image_set_pinned(userdata, pinned, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* ---- Image.Delete ---- */

typedef struct DeleteOptions {
        int force, synchronous;
} DeleteOptions;

static int method_delete(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Force", "b", offsetof(DeleteOptions, force), 1, NULL },
                { "Synchronous", "b", offsetof(DeleteOptions, synchronous), 1, NULL },
        };
        DeleteOptions options = { 0 };
        Image *image = userdata;
        Manager *manager;
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, &options, error);
        if (r >= 0)
                r = refuse_used(image, error);
        if (r >= 0 && !options.force)
                r = refuse_leased(image, "; delete that first, or force it", error);
        if (r < 0)
                return r;
        if (image->record->pinned && !options.force)
                return error_precondition(error, "Image \"%s\" is pinned; unpin it first, or force it.",
                                          image->record->name);

        manager = image->ns->manager;
        r = image_remove(image, error);
        if (r < 0)
                return r;

        if (options.synchronous)
                return collect_wait(manager, m);
        collect_schedule(manager);
        return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_delete,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Tag", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", image), method_tag,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Rename", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", image), method_rename,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetPinned", SD_BUS_ARGS("b", pinned), SD_BUS_NO_RESULT, method_set_pinned,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Name", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Digest", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ConfigDigest", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ChainId", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Platform", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Index", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Platforms", "as", get_platforms, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Size", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("CreatedAt", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ImportedAt", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Layers", "a(sst)", get_layers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("History", "a(tsssb)", get_history, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Pinned", "b", get_pinned, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Config", "s", get_config, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_VTABLE_END,
};

/** image_bus_register() - puts the images of every namespace on the bus */
int image_bus_register(Manager *m) {
        return object_register(m, &objects, vtable);
}

/* ---- Manager ---- */

static int get_image(sd_bus_message *m, Manager *manager,
                     int (*lookup)(Namespace *ns, const char *name, Image **ret, sd_bus_error *error), Image **ret,
                     sd_bus_error *error) {
        const char *ns_name, *name;
        Namespace *ns;
        int r;

        r = sd_bus_message_read(m, "ss", &ns_name, &name);
        if (r >= 0)
                r = manager_namespace(manager, ns_name, false, &ns, error);
        return r < 0 ? r : lookup(ns, name, ret, error);
}

/** method_get_image() - Manager.GetImage */
int method_get_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Image *image;
        int r;

        r = get_image(m, userdata, image_lookup, &image, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", image->path);
}

/** method_get_image_name() - Manager.GetImageName */
int method_get_image_name(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Image *image;
        int r;

        r = get_image(m, userdata, image_lookup_name, &image, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, "so", image->record->name, image->path);
}

typedef struct Filters {
        char **names, **labels;
} Filters;

static bool name_wanted(const char *name, char **wanted) {
        if (!wanted)
                return true;

        for (char **w = wanted; *w; w++) {
                _cleanup_free_ char *whole = NULL;

                if (image_name_normalise(*w, &whole) >= 0 && streq(name, whole))
                        return true;
        }
        return false;
}

static bool wanted(const void *object, const void *filters) {
        const Filters *f = filters;
        const Image *image = object;

        return name_wanted(image->record->name, f->names) && bus_labels_match(image->labels, f->labels);
}

static int append(sd_bus_message *reply, const void *object) {
        const Image *image = object;
        const ImageRecord *record = image->record;
        int r;

        r = sd_bus_message_append(reply, "sssstt", image->ns->name, record->name, record->digest, record->chain_id,
                                  record->size, record->created);
        if (r >= 0)
                r = bus_append_labels(reply, image->labels);
        return r < 0 ? r : sd_bus_message_append(reply, "bo", (int)record->pinned, image->path);
}

/** method_list_images() - Manager.ListImages */
int method_list_images(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Name", "as", offsetof(Filters, names), 1, bus_read_named },
                { "Label", "as", offsetof(Filters, labels), 1, bus_read_named },
        };
        static const ObjectList list = { &objects, table, ELEMENTSOF(table), "sssstta{ss}bo", wanted, append };
        Filters filters = { 0 };

        return object_list(m, userdata, &list, &filters, error);
}

/* ---- announcements ---- */

/** image_event() - tells what has become of a name */
void image_event(const Image *image, EventType type) {
        event_emit(image->ns->manager, type, image->ns->name, image->record->name, image->path, "IMAGE_DIGEST",
                   image->record->digest, NULL);
}

void image_bus_added(Image *image) {
        object_added(image->ns->manager, &objects, image);
        image_event(image, EVENT_IMAGE_CREATE);
}

void image_bus_removed(Image *image) {
        object_removed(image->ns->manager, &objects, image);
        image_event(image, EVENT_IMAGE_DELETE);
}

/** image_bus_changed() - the name means something else now */
void image_bus_changed(Image *image) {
        object_changed(image->ns->manager, &objects, image,
                       (const char *const[]){ "Digest", "ConfigDigest", "ChainId", "Platform", "Index", "Platforms",
                                              "Size", "CreatedAt", "ImportedAt", "Layers", "History", "Config", NULL });
        image_event(image, EVENT_IMAGE_UPDATE);
}

/** image_bus_pinned() - the image is pinned, or not any more */
void image_bus_pinned(Image *image) {
        object_changed(image->ns->manager, &objects, image, (const char *const[]){ "Pinned", NULL });
        image_event(image, EVENT_IMAGE_UPDATE);
}
