/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What images ask of the store: imports, and removals of what nothing uses any more. One at Manager.image_store. */

#include "daemon/image.h"
#include "daemon/job.h"

#define IMAGE_REMOVALS_KIND "removals" /* records of images whose space is still to be freed */

int image_store_new(Manager *m, ImageStore **ret);
ImageStore *image_store_free(ImageStore *s); /* gives up what is running: workers see the end of their connection */
void image_store_start(
        ImageStore *s,
        unsigned n_broken); /* once, when every namespace is loaded: sum of images_load() and snapshots_load() */
bool image_removals_pending(Manager *m, const char *ns);
JsonArray *image_store_live_chains(ImageStore *s);

typedef struct ImportOptions {
        const char *name;     /* normalised; NULL takes the archive's */
        const char *format;   /* "auto", "oci", "docker", "rootfs" */
        const char *platform; /* "os/arch[/variant]" or NULL */
        uint64_t size;        /* of the archive; 0: not known */
} ImportOptions;

int image_import_begin(ImageStore *s, const char *ns, int archive, const ImportOptions *options, Job **ret,
                       sd_bus_error *error);
/* call: answered when the space is free; NULL: nobody waits */
int image_removal_begin(ImageStore *s, const char *ns, const char *name, sd_bus_message *call);
