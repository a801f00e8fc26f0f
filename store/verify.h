/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What files of the store are, by their own bytes: the checksums libostree would give them. */

#include <glib.h>

#include "store/mark.h"

/* @bytes is added to. */
gboolean verify_object(int objects_fd, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], guint64 *bytes,
                       GError **error);

/* A regular file or symbolic link with its owner, mode and attributes. */
gboolean verify_checksum(int dir_fd, const char *name, guint8 ret[DIGEST_SIZE], guint64 *bytes, GError **error);
/* The content of @fd as if it had @header (object_header()): a copy under another owner or mode shows itself. */
gboolean verify_content(int fd, GVariant *header, guint8 ret[DIGEST_SIZE], guint64 *bytes, GError **error);
