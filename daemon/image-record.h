/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of an image, checked: from a store worker's result, and from davitd's own record file. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IMAGE_LAYERS_MAX 512U
#define IMAGE_RESULT_MAX 256U /* images of one archive */
#define IMAGE_HISTORY_MAX 1024U
#define IMAGE_PLATFORMS_MAX 64U

typedef struct ImageLayer {
        char *diff_id;
        char *digest;
        uint64_t size;
} ImageLayer;

/* One step of an image's making, oldest first. */
typedef struct ImageHistory {
        uint64_t created; /* as ImageRecord.created */
        char *created_by;
        char *author;
        char *comment;
        bool empty_layer;
} ImageHistory;

typedef struct ImageRecord {
        char *name; /* normalised; NULL in ImageRecord.platforms */
        char *digest;
        char *config_digest;
        char *media_type;
        char *os;
        char *architecture;
        char *variant;  /* "" when there is none */
        char *platform; /* os/architecture[/variant] */
        uint64_t size;
        uint64_t manifest_size, config_size; /* 0: not known */
        uint64_t created;                    /* CLOCK_REALTIME, microseconds; 0: not known */
        uint64_t imported;                   /* the same, davitd's own */
        GArray *layers;                      /* ImageLayer, lowest first */
        char *chain_id;
        uid_t root_uid; /* of the root directory, for an upper that stands in its place */
        gid_t root_gid;
        mode_t root_mode;     /* permission bits */
        JsonObject *config;   /* only members that are known, each checked */
        GArray *history;      /* ImageHistory */
        char *index;          /* digest of the index whose images are all here; "" when there is none */
        char *source;         /* digest of what its name stood for where it came from: a manifest, or an index; or "" */
        GPtrArray *platforms; /* ImageRecord of each further platform of that index */
        bool pinned;          /* davitd's own */
} ImageRecord;

int image_record_parse(JsonObject *o, ImageRecord **ret, char **ret_why);
int image_records_parse(JsonObject *result, GPtrArray **ret, char **ret_why);
JsonObject *image_record_to_json(const ImageRecord *record);
ImageRecord *image_record_copy(const ImageRecord *record, const char *name);
bool image_record_has_digest(const ImageRecord *record, const char *digest); /* its own, or what it was named by */
void image_record_foreach_platform(const ImageRecord *record, void (*visit)(const ImageRecord *one, void *userdata),
                                   void *userdata);
ImageRecord *image_record_free(ImageRecord *record);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageRecord, image_record_free)
