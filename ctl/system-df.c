/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl system df: how much space what kind of thing takes and how much of it prune could free. Counting walks the
 * snapshots, so it is a job. Layers several images share are counted once, which is why the rows need not add up to
 * what the images say of themselves.
 */

#include <inttypes.h>

#include "ctl/job.h"
#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option system_df_options[] = {
        LISTING_BYTES,
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Df {
        Job job;
        Listing ls;
        uint64_t repository;
} Df;

static int on_option(int key, const char *arg, void *userdata) {
        Df *df = userdata;

        if (key != 'q')
                return listing_option(key, arg, &df->ls);
        df->job.quiet = true;
        return 0;
}

static int read_rows(Message *m, void *userdata) {
        uint64_t bytes, reclaimable;
        Df *df = userdata;
        const char *type;
        uint32_t n;
        int r;

        r = message_enter(m, 'a', "(sutt)");
        while (r >= 0 && (r = message_read(m, "(sutt)", &type, &n, &bytes, &reclaimable)) > 0) {
                char *cells[] = { strdup(type), text_printf("%" PRIu32, n), cell_size(&df->ls, bytes),
                                  cell_size(&df->ls, reclaimable) };

                if (!table_row(&df->ls.table, TABLE_PLAIN, cells))
                        return -ENOMEM;
        }
        return r < 0 ? r : message_exit(m);
}

static int print_json(Df *df) {
        static const char *const names[] = { "Type", "Number", "Size", "Reclaimable", NULL };

        return job_print_rows(&df->job, &(const Rows){ "Rows", names }, 1);
}

static int print_rows(Df *df) {
        static const char *const headings[] = { N_("TYPE"), N_("NUMBER"), N_("SIZE"), N_("RECLAIMABLE"), NULL };
        const Member members[] = { { "Rows", "a(sutt)", NULL, read_rows },
                                   { "Repository", "t", &df->repository, NULL } };
        _cleanup_free_ char *size = NULL;
        Ctl *ctl = df->job.ctl;
        int r;

        if (!listing_headings(&df->ls, headings, 3))
                return ctl_oom(ctl);
        r = result_read(ctl, job_result(&df->job), members, ELEMENTSOF(members), df);
        if (r != 0)
                return r;
        listing_print(&df->ls);
        size = cell_size(&df->ls, df->repository);
        if (!size)
                return ctl_oom(ctl);
        printf(_("\nThe repository takes %s.\n"), size);
        return 0;
}

/** verb_system_df() - see above. */
int verb_system_df(Ctl *ctl, int argc, char **argv) {
        Df df = { .job = JOB_INIT(ctl, _("cancelled")), .ls = { .ctl = ctl } };
        _cleanup_message_ Message *m = NULL;
        int r;

        r = options_parse(ctl, "system df", &argc, &argv, on_option, &df);
        if (r == 0)
                r = job_new(&df.job, BUS_PATH, BUS_MANAGER, "DiskUsage", &m);
        if (r == 0)
                r = job_run(&df.job, m);
        if (r == 0)
                r = ctl->json ? print_json(&df) : print_rows(&df);
        job_clear(&df.job);
        listing_clear(&df.ls);
        return r;
}
