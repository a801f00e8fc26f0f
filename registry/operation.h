/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One operation as all of the worker sees it: who asked, where the output goes, what may end it, how far it is. */

#include <curl/curl.h>
#include <glib.h>

#include "shared/store-protocol.h"

typedef struct Operation Operation;

struct Operation {
        int sock;      /* the manager, or -1 */
        int signal_fd; /* or -1 */
        int out;       /* a pipe or file, or -1 */
        CURLM *multi;
        GByteArray *pending; /* what the output has not taken yet, from "pending_at" on */
        gsize pending_at;
        struct store_progress progress;
        struct store_progress told;
        gint64 told_at;  /* usec, monotonic */
        guint64 fetched; /* bytes that came from the network */
        gint64 waited;   /* usec, for servers, and between tries */
};

gboolean operation_init(Operation *o, int sock, int signal_fd, int out, GError **error);
void operation_done(Operation *o);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Operation, operation_done)

gboolean operation_wait(Operation *o, int msec, GError **error);
gboolean operation_pause(Operation *o, gint64 usec, GError **error);

gboolean operation_write(Operation *o, const void *data, gsize size, GError **error);
gboolean operation_full(const Operation *o);
gboolean operation_flush(Operation *o, GError **error);
