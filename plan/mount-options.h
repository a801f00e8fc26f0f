/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* mounts[].options of config.json, read into flags. */

#include <glib.h>
#include <json-glib/json-glib.h>

typedef struct MountOptions {
        gboolean bind, recursive, remount, copy_up, optional, idmap, idmap_recursive;
        guint64 attr_set, attr_clear, attr_set_recursive, attr_clear_recursive; /* MOUNT_ATTR_* */
        guint32 sb_flags;                                                       /* MS_* of the superblock */
        guint32 propagation;                                                    /* MS_SHARED..., with MS_REC */
        GPtrArray *data; /* borrowed: options of the file system itself */
} MountOptions;

void mount_options_parse(MountOptions *ret, const char *const *options, gsize n);
void mount_options_known(JsonArray *names);
void mount_options_clear(MountOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MountOptions, mount_options_clear)
