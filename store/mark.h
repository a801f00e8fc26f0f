/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which objects of the repository commits lead to. */

#include <glib.h>

#include "store/digest.h"

typedef struct Mark Mark;

typedef enum ObjectKind {
        OBJECT_FILE,
        OBJECT_DIRTREE,
        OBJECT_DIRMETA,
        OBJECT_COMMIT,
        _OBJECT_MAX,
} ObjectKind;

/* A metadata object cannot be trusted: what it leads to is not known. */
typedef void (*mark_damaged_t)(void *userdata, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], const GError *why);
typedef void (*mark_each_t)(void *userdata, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]);

Mark *mark_new(int objects_fd);
void mark_on_damaged(Mark *m, mark_damaged_t damaged, void *userdata); /* instead of failing */
void mark_fall_back(Mark *m, int objects_fd);                          /* where what cannot be trusted was made again */
void mark_free(Mark *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Mark, mark_free)

gboolean mark_add(Mark *m, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]); /* FALSE: it was in already */
gboolean mark_has(const Mark *m, ObjectKind kind, const guint8 checksum[DIGEST_SIZE]);
guint mark_size(const Mark *m);
void mark_foreach(const Mark *m, mark_each_t each, void *userdata); /* in no order */
gboolean mark_commit(Mark *m, const guint8 commit[DIGEST_SIZE], GError **error);

const char *object_suffix(ObjectKind kind);
gboolean object_parse(const char *directory, const char *file, ObjectKind *ret_kind, guint8 ret[DIGEST_SIZE]);
/* A metadata object, whose bytes have the checksum that its name says. */
GVariant *object_load(int objects_fd, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], GError **error);
