/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Loose objects of the repository, written next to it and moved in at once; file content by a pool of threads. */

#include <glib.h>

#include "store/job.h"
#include "store/tree.h"

typedef struct Objects Objects;
typedef struct BigFile BigFile;

#define OBJECT_NAME 74U /* "xx/" + 62 digits + ".dirtree" + NUL */
#define OBJECT_INLINE_MAX ((gsize)512 * 1024)

Objects *objects_new(StoreJob *job, int objects_fd, int stage_fd);
void objects_free(Objects *o); /* waits for the threads; what is staged stays where it is */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Objects, objects_free)

void objects_set_fresh(Objects *o); /* writes everything anew, whatever the repository has */

/* From any thread. The inode's checksum is set later; @data is taken over. */
gboolean objects_put_file(Objects *o, Inode *inode, guint8 *data, gsize size, GError **error);
gboolean objects_put_bytes(Objects *o, const char *suffix, const void *data, gsize size, guint8 ret[DIGEST_SIZE],
                           GError **error);
void objects_trust(Objects *o, gboolean on);
gboolean objects_put_variant(Objects *o, const char *suffix, GVariant *value, guint8 ret[DIGEST_SIZE], GError **error);

/* Large files: one writer at a time each. */
BigFile *objects_begin_file(Objects *o, Inode *inode, GError **error);
gboolean objects_add_file(BigFile *b, const void *data, gsize size, GError **error);
gboolean objects_end_file(BigFile *b, GError **error);
void objects_drop_file(BigFile *b);

gboolean objects_settle(Objects *o, GError **error); /* waits until all that was put is written */
gboolean objects_promote(Objects *o, GError **error);
int objects_link(Objects *o, const char *name, int dir_fd, const char *path);
int objects_open(Objects *o, const char *name);
void object_name(const guint8 checksum[DIGEST_SIZE], const char *suffix, char ret[OBJECT_NAME]);
GVariant *object_header(const Inode *inode);

/* owner, attributes, mode and times of a file */
gboolean inode_apply(int fd, const Inode *i, GError **error);
gboolean inode_apply_at(int dir_fd, const char *name, const Inode *i, GError **error);
