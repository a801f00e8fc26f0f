/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Manager.Collect: a collection that is asked for, as a job.
 *
 * Many askers may share one collection, so a job that is cancelled merely stops to wait. Decodes and encodes; when what
 * is collected is decided in collect.c.
 */

#include "daemon/bus.h"
#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"

typedef struct CollectOptions {
        int dry_run;
} CollectOptions;

static void on_collected(const CollectResult *result, const sd_bus_error *error, void *userdata) {
        Job *job = userdata;
        GVariantDict dict;

        if (error) {
                (void)job_finish_error(job, error->name, error->message);
                return;
        }

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Freed", "t", result->freed);
        g_variant_dict_insert(&dict, "Objects", "t", result->objects);
        g_variant_dict_insert(&dict, "Chains", "^as", result->chains);
        g_variant_dict_insert(&dict, "Contents", "^as", result->contents);
        (void)job_finish_ok(job, g_variant_dict_end(&dict));
}

static void on_cancel(Job *job, void *userdata _unused_) {
        collect_forget(job->manager, job);
        (void)job_finish_cancelled(job);
}

/** method_collect() - Manager.Collect */
int method_collect(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = { { "DryRun", "b", offsetof(CollectOptions, dry_run), 1, NULL } };
        CollectOptions options = { 0 };
        Manager *manager = userdata;
        Job *job;
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, &options, error);
        if (r >= 0)
                r = job_new(manager, "", "collect", options.dry_run ? "store, dry run" : "store", on_cancel, NULL,
                            &job);
        if (r < 0)
                return r;

        r = job_bus_reply_path(job, m);
        collect_then(manager, options.dry_run, on_collected, job);
        return r < 0 ? r : 1;
}
