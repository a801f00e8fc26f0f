/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A chain's root file system in the form the host mounts: built in a working directory, then moved to its place. */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "store/objects.h"
#include "store/repo.h"

typedef enum {
        ROOTFS_EROFS,    /* erofs/CHAIN: an image of metadata, a link to the object of ref davit/erofs/CHAIN */
        ROOTFS_CHECKOUT, /* checkouts/CHAIN: a directory of links to objects */
        ROOTFS_NONE,     /* nothing now: a start that needs one has it made */
} RootfsForm;

typedef struct {
        RootfsForm form;
        guint8 chain_id[DIGEST_SIZE];
        gboolean built;            /* FALSE: it was there already */
        guint8 image[DIGEST_SIZE]; /* of the image's object */
        char commit[DIGEST_HEX];   /* for the ref of the image; "": there is none to set */
} Rootfs;

gboolean rootfs_form_parse(const char *name, RootfsForm *ret, GError **error);
gboolean rootfs_build(StoreJob *job, Ingest *ingest, Objects *objects, Tree *chain, Rootfs *r, GError **error);
gboolean rootfs_move(Ingest *ingest, const Rootfs *r, GError **error);
JsonNode *rootfs_record(const char *directory, const Rootfs *r, Tree *chain);
