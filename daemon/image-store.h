/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What images ask of the store: imports. One at Manager.image_store. */

#include "daemon/image.h"
#include "daemon/job.h"

int image_store_new(Manager *m, ImageStore **ret);
ImageStore *image_store_free(ImageStore *s); /* gives up what is running: workers see the end of their connection */

typedef struct ImportOptions {
        const char *name;     /* normalised; NULL takes the archive's */
        const char *format;   /* "auto", "oci", "docker", "rootfs" */
        const char *platform; /* "os/arch[/variant]" or NULL */
        uint64_t size;        /* of the archive; 0: not known */
} ImportOptions;

int image_import_begin(ImageStore *s, const char *ns, int archive, const ImportOptions *options, Job **ret,
                       sd_bus_error *error);
