/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writer of tar archives: ustar headers, with pax records where those cannot say it. The same entries give the same
 * bytes. */

#include <glib.h>

#include "store/stream.h"
#include "store/tar.h"

/* Headers of one entry; "stored", "parts" and "xattrs" of no attributes may be left zero. Only regular files have data:
 * "size" bytes have to follow, then tar_write_padding(). */
gboolean tar_write_header(GByteArray *out, const TarEntry *e, GError **error);
void tar_write_padding(GByteArray *out, guint64 size);
void tar_write_end(GByteArray *out);

/* Gives the next entry, which stays the callee's until the next call, and for a regular file with a size its data,
 * which is taken over and has to have exactly that size. 1: an entry, 0: no more, -1: error. */
typedef int (*TarNext)(void *userdata, const TarEntry **ret, Stream **ret_data, GError **error);

/* An archive as a stream, end mark included. */
Stream *tar_write_stream(TarNext next, void *userdata);
