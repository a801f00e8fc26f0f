/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where an operation writes to: a pipe, socket or file of the caller's, whose reader may stall. */

#include <glib.h>

#include "store/job.h"
#include "store/stream.h"

typedef struct Output Output;

#define OUTPUT_PATIENCE_MSEC 60000 /* without a byte taken */

Output *output_new(StoreJob *job, int fd, int patience_msec, GError **error);
void output_free(Output *o);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Output, output_free)

gboolean output_write(Output *o, const void *data, gsize size, GError **error);
gboolean output_zeros(Output *o, gsize size, GError **error);
gboolean output_copy(Output *o, Stream *from, guint64 *ret_size, GError **error); /* to its end */
guint64 output_size(const Output *o);                                             /* written so far */
