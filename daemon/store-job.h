/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Work of the store workers, a handful at a time, with or without a Job. Manager.store_jobs and Manager.store_reads. */

#include <json-glib/json-glib.h>

#include "daemon/job.h"

/* One operation. Strings and descriptors are copied, the request is referenced, userdata is taken in any case. */
typedef struct StoreWork {
        const char *ns;      /* of the Job; "": the whole host */
        const char *type;    /* of the Job */
        const char *subject; /* of the Job, for people */
        JsonObject *request;
        const int *fds;
        size_t n_fds;
        const char *socket; /* NULL: the store's own */
        /* The worker has published: records are written here. The Job ends with *ret (a{sv}, owned; may stay NULL) or,
         * when this is negative, with the error. */
        int (*accept)(JsonObject *result, void *userdata, GVariant **ret, sd_bus_error *error);
        GDestroyNotify destroy; /* of userdata, once the work has ended in any way */
        void *userdata;
} StoreWork;

int store_jobs_new(Manager *m, unsigned max, StoreJobs **ret);
StoreJobs *store_jobs_free(StoreJobs *s); /* gives up what is running; the jobs are the caller's to drop */

/* ret: NULL when nobody is to see a Job; nobody can cancel it then, and its failure is logged */
int store_job_begin(StoreJobs *s, const StoreWork *work, Job **ret, sd_bus_error *error);
