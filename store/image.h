/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images as an archive describes them, and the record that goes to the manager. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/archive.h"
#include "store/digest.h"

typedef struct Image Image;
typedef struct ImageLayer ImageLayer;

struct ImageLayer {
        guint8 diff_id[DIGEST_SIZE];
        guint8 digest[DIGEST_SIZE]; /* of the blob */
        gboolean has_digest;        /* the archive says it; else it is computed */
        guint64 size;               /* of the blob */
        char *media_type;
        char *member; /* of the archive */
};

struct Image {
        GPtrArray *names; /* may be empty */
        GBytes *manifest; /* NULL until made, where the archive has none */
        GBytes *config;
        guint8 manifest_digest[DIGEST_SIZE];
        guint8 config_digest[DIGEST_SIZE];
        char *media_type;
        JsonNode *config_json;
        GPtrArray *layers; /* ImageLayer */
        guint8 chain_id[DIGEST_SIZE];
        GPtrArray *platforms;             /* Image: the same for other platforms */
        GBytes *index;                    /* all of whose manifests are here, or NULL */
        guint8 index_digest[DIGEST_SIZE]; /* of the index it came from, zeros without one */
        gboolean chosen;                  /* for the platform that its descriptor names */
        guint8 source[DIGEST_SIZE];       /* of the index or manifest that the layout names */
        gboolean has_source;
};

#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"

Image *image_new(void);
void image_free(Image *i);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Image, image_free)
void image_layer_free(ImageLayer *l);

gboolean image_set_config(Image *i, GBytes *config, GError **error);
gboolean image_set_diff_ids(Image *i, GError **error); /* from the config to the layers */
char *image_platform(void);

/* oci.c, docker.c: add to @images what the archive holds */
gboolean oci_read(Archive *a, const char *platform, const StoreLimits *limits, GPtrArray *images, GError **error);
gboolean docker_read(Archive *a, const StoreLimits *limits, GPtrArray *images, GError **error);
gboolean docker_finish(Image *i, GError **error); /* makes the manifest, once layers' digests are known */

/* record.c */
JsonNode *image_record(const Image *i, const char *name, JsonNode *rootfs, JsonArray *platforms, GError **error);
