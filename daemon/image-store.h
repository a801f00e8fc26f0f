/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What images ask of the store: imports and saves, as jobs. */

#include "daemon/image.h"
#include "daemon/job.h"

/* Members are borrowed. */
typedef struct ImportOptions {
        const char *name;            /* normalised; NULL takes the archive's */
        const char *format;          /* "auto", "oci", "docker", "rootfs" */
        const char *platform;        /* "os/arch[/variant]", "all" or NULL */
        const char *lease;           /* gets the images; NULL: none */
        const char *rootfs;          /* form to make: "erofs", "checkout", "none"; NULL: the host's */
        uint64_t size;               /* of the archive; 0: not known */
        uint64_t limits[_LIMIT_MAX]; /* 0: as configured */
} ImportOptions;

typedef struct SaveOptions {
        const char *format;      /* "oci", "docker", "rootfs" */
        const char *compression; /* "none", "gzip", "zstd" */
} SaveOptions;

int image_import_begin(Manager *m, const char *ns, int archive, const ImportOptions *options, Job **ret,
                       sd_bus_error *error);

/* pieces of an import, for a pull */
JsonObject *image_import_limits(const Manager *m, const ImportOptions *options);
JsonObject *image_import_request(const Manager *m, const ImportOptions *options);
int image_import_parse(Manager *m, const char *name, JsonObject *result, GPtrArray **ret, sd_bus_error *error);

int image_save_begin(Namespace *ns, char **names, int output, const SaveOptions *options, Job **ret,
                     sd_bus_error *error);
