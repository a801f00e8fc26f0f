/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images: a name in a namespace for something the store holds. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "daemon/image-record.h"
#include "daemon/namespace.h"

typedef struct Image {
        Namespace *ns;
        ImageRecord *record; /* replaced as a whole when the name is imported again */
        GHashTable *labels;  /* of the image's configuration */
        char *path;          /* object path */
} Image;

/* Namespace.images; namespace_new() calls init, namespace_free() done */
void images_init(Namespace *ns);
void images_done(Namespace *ns);
int images_load(Namespace *ns); /* reads the records; returns how many are broken, each is reported and skipped */

/* image-resolve.c, for everybody who is given a name: -ENOENT, -EINVAL where it could be several */
int image_lookup(Namespace *ns, const char *name, Image **ret, sd_bus_error *error);
int image_lookup_base(Namespace *ns, const char *name, Image **ret, sd_bus_error *error); /* to run or build on it */
int image_lookup_name(Namespace *ns, const char *name, Image **ret, sd_bus_error *error); /* to change or remove it */
const char *image_stop_signal(const Image *image); /* NULL when the image names none */

const char *image_user(const Image *image); /* id of a container that was made from it, image-use.c; NULL: none */

/* changes, each durable when it returns */
int image_put(Namespace *ns, ImageRecord *record, Image **ret); /* takes the record */
int image_tag(Image *image, const char *name, Image **ret, sd_bus_error *error);
int image_rename(Image *image, const char *name, Image **ret, sd_bus_error *error); /* frees the image */
int image_set_pinned(Image *image, bool pinned, sd_bus_error *error);
int image_remove(Image *image, sd_bus_error *error); /* frees the image; its space goes by collect_schedule() */
