/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of the test's with objects in it, for what makes trees and layers. */

#include <fcntl.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/objects.h"

typedef struct ObjectDir {
        char *directory;
        int fd, stage_fd;
        StoreJob job;
        Objects *objects;
} ObjectDir;

/* @stage: where they wait below the directory, NULL for the directory itself. */
static inline void object_dir_open(ObjectDir *d, const char *stage) {
        d->directory = g_dir_make_tmp("davit-test-XXXXXX", NULL);
        d->fd = open(d->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(d->fd, >=, 0);
        d->stage_fd = dir_open_at(d->fd, stage ?: "", 0755);
        g_assert_cmpint(d->stage_fd, >=, 0);
        g_assert_true(store_job_init(&d->job, NULL));
        d->objects = objects_new(&d->job, d->fd, d->stage_fd);
}

static inline void object_dir_close(ObjectDir *d) {
        objects_free(d->objects);
        store_job_done(&d->job);
        (void)safe_close(d->stage_fd);
        (void)safe_close(d->fd);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, d->directory), >=, 0);
        g_free(d->directory);
}
