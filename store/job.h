/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One operation as its threads share it: cancellation, the first error, limits that add up over layers, progress. */

#include <glib.h>

#include "store/limits.h"

typedef struct StoreJob StoreJob;

struct StoreJob {
        StoreLimits limits;
        int cancel_fd;  /* eventfd that turns readable when the job is cancelled */
        gint stopped;   /* atomic: cancelled or failed */
        gint cancelled; /* atomic */
        GMutex lock;
        GError *failure;  /* the first one, under lock */
        guint64 bytes_in; /* atomic, of the input */
        guint64 bytes_total;
        guint64 bytes_out;   /* atomic, inflated */
        guint64 entries;     /* atomic */
        guint64 memory;      /* atomic */
        guint64 written;     /* atomic, since the space was looked at */
        guint64 layers_done; /* atomic */
        guint64 layers_total;
};

gboolean store_job_init(StoreJob *job, GError **error);
void store_job_done(StoreJob *job);
void store_job_cancel(StoreJob *job);
void store_job_fail(StoreJob *job, GError *failure);
gboolean store_job_check(StoreJob *job, GError **error);
gboolean store_job_result(StoreJob *job, GError **error);
gboolean store_job_add_entry(StoreJob *job, GError **error);
gboolean store_job_add_memory(StoreJob *job, guint64 n, GError **error);
gboolean store_job_add_bytes(StoreJob *job, guint64 n, GError **error);
gboolean store_job_add_written(StoreJob *job, int fd, guint64 n, GError **error);
