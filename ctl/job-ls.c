/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl job ls and cancel: jobs of the manager, whoever has begun them and in whatever namespace. Those that have
 * ended are listed for a minute. A job is known by its number alone. Waiting for a job is its own verb's.
 */

#include "ctl/listing.h"
#include "ctl/verbs.h"

const Option job_ls_options[] = {
        LISTING_QUIET(N_("Print numbers only")),
        {},
};

static int add_job(Listing *ls, Message *m) {
        const char *type, *subject, *state, *object;
        uint32_t number;
        char *cells[4];
        int r;

        r = message_read(m, "ussso", &number, &type, &subject, &state, &object);
        if (r < 0)
                return r;
        if (ls->quiet)
                printf("%u\n", number);
        cells[0] = text_printf("%u", number);
        cells[1] = strdup(type);
        cells[2] = strdup(*subject ? subject : "-");
        cells[3] = strdup(state);
        return table_row(&ls->table, TABLE_PLAIN, cells) ? message_exit(m) : -ENOMEM;
}

static int print_jobs(Listing *ls, Message *m) {
        static const char *const headings[] = { N_("JOB"), N_("TYPE"), N_("SUBJECT"), N_("STATE"), NULL };
        int r;

        if (!listing_headings(ls, headings, 0))
                return ctl_oom(ls->ctl);
        ls->table.cut = 2;
        r = message_enter(m, 'a', NULL);
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0)
                r = add_job(ls, m);
        if (r < 0)
                return bus_protocol_error(ls->ctl, r);
        listing_print(ls);
        return 0;
}

/** verb_job_ls() - see above. */
int verb_job_ls(Ctl *ctl, int argc, char **argv) {
        static const char *const members[] = { "Number", "Type", "Subject", "State", "Object", NULL };
        _cleanup_listing_ Listing ls = { .ctl = ctl };
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "job ls", &argc, &argv, listing_option, &ls);
        if (r == 0)
                r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "ListJobs", NULL);
        if (r == 0)
                r = call_finish(ctl, &call, NULL);
        if (r != 0)
                return r;
        return ctl->json ? json_records(ctl, call.reply, members) : print_jobs(&ls, call.reply);
}

static int cancel_one(Ctl *ctl, const char *number, _unused_ void *userdata) {
        _cleanup_free_ char *path = NULL;
        _cleanup_call_ Call call = {};
        int r;

        if (!*number || number[strspn(number, "0123456789")])
                return ctl_error(ctl, _("'%s' is no number of a job; see 'davitctl job ls'"), number);
        path = text_printf(BUS_PATH "/job/%s", number);
        if (!path)
                return ctl_oom(ctl);
        r = call_simple(ctl, &call, path, BUS_JOB, "Cancel", NULL);
        if (r == 0)
                r = call_wait(ctl, &call);
        if (r != 0)
                return r;
        if (error_no_object(call_error(&call)))
                return ctl_error(ctl, _("there is no job %s; see 'davitctl job ls'"), number);
        if (call_error(&call))
                return call_report(ctl, &call, number);
        printf("%s\n", number);
        return 0;
}

/** verb_job_cancel() - see above. */
int verb_job_cancel(Ctl *ctl, int argc, char **argv) {
        int r;

        r = options_parse(ctl, "job cancel", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, cancel_one, NULL) : r;
}
