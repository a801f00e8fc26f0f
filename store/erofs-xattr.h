/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Extended attributes of an inode as they lie in an EROFS image. */

#include <glib.h>

#include "store/tree.h"

gboolean erofs_xattrs_size(const Inode *i, gsize *ret, GError **error);
void erofs_xattrs_append(GByteArray *out, const Inode *i);
