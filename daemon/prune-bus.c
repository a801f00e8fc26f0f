/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Manager.Prune and Manager.DiskUsage: decodes and checks options, begins the jobs.
 */

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"
#include "daemon/prune.h"

typedef struct PruneArgs {
        int dry_run, dangling;
        char **kinds, **labels;
        uint64_t until;
} PruneArgs;

static void args_done(PruneArgs *args) {
        g_strfreev(args->kinds);
        g_strfreev(args->labels);
}

static int choose_kinds(char **kinds, PruneOptions *options, sd_bus_error *error) {
        for (PruneKind k = 0; k < _PRUNE_KIND_MAX; k++)
                options->wanted[k] = !kinds;
        for (char **s = kinds; s && *s; s++) {
                PruneKind k = prune_kind_from_name(*s);

                if (k < 0)
                        return error_invalid(
                                error, "Kinds holds \"%s\"; it takes containers, images, snapshots, content, space.",
                                *s);
                options->wanted[k] = true;
        }
        return 0;
}

/** method_prune() - Manager.Prune */
int method_prune(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "DryRun", "b", offsetof(PruneArgs, dry_run), 1, NULL },
                { "Kinds", "as", offsetof(PruneArgs, kinds), 1, NULL },
                { "Label", "as", offsetof(PruneArgs, labels), 1, bus_read_named },
                { "Until", "t", offsetof(PruneArgs, until), 1, NULL },
                { "Dangling", "b", offsetof(PruneArgs, dangling), 1, NULL },
        };
        _cleanup_(args_done) PruneArgs args = { 0 };
        PruneOptions options = { 0 };
        const char *ns_name;
        Namespace *ns = NULL;
        Job *job;
        int r;

        r = sd_bus_message_read(m, "s", &ns_name);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &args, error);
        if (r >= 0)
                r = choose_kinds(args.kinds, &options, error);
        if (r >= 0 && !streq(ns_name, "*"))
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r < 0)
                return r;
        options.dry_run = args.dry_run;
        options.dangling = args.dangling;
        options.labels = args.labels;
        options.until = args.until;
        r = prune_begin(userdata, ns, &options, &job, error);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

/** method_disk_usage() - Manager.DiskUsage */
int method_disk_usage(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Job *job;
        int r;

        r = disk_usage_begin(userdata, &job, error);
        return r < 0 ? r : job_bus_reply_path(job, m);
}
