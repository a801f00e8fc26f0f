/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl system check and collect: the manager's verification of all that is stored, and its removal of what nothing
 * keeps. check names what is damaged and which images it is part of; it exits with 1 where something stays damaged, so
 * that a timer can watch it. Nothing is repaired unless that is asked for.
 */

#include <inttypes.h>

#include "ctl/job.h"
#include "ctl/listing.h"
#include "ctl/verbs.h"

enum { OPTION_REPAIR = OPTION_FREE, OPTION_DRY_RUN };

const Option system_check_options[] = {
        { OPTION_REPAIR, "repair", NULL, N_("Repair what can be repaired from a second copy") },
        { 'q', "quiet", NULL, N_("Show no progress, and nothing where all is well") },
        {},
};

const Option system_collect_options[] = {
        { OPTION_DRY_RUN, "dry-run", NULL, N_("Only show what would go") },
        LISTING_BYTES,
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Check {
        Job job;
        Listing ls;
        bool repair, dry_run;
        bool json; /* it has been printed: only count */
        uint64_t objects, bytes, freed;
        size_t damaged, repaired, records;
        size_t named, aside; /* of what is not repaired: in an image, a file that the repair has moved */
} Check;

static int on_option(int key, const char *arg, void *userdata) {
        Check *check = userdata;

        switch (key) {
        case OPTION_REPAIR:
                check->repair = true;
                return 0;
        case OPTION_DRY_RUN:
                check->dry_run = true;
                return 0;
        case 'q':
                check->job.quiet = true;
                return 0;
        default:
                return listing_option(key, arg, &check->ls);
        }
}

static int print_images(const Check *check, Message *m, size_t *ret_n) {
        const char *image;
        size_t n = 0;
        int r;

        r = message_enter(m, 'a', "s");
        for (; r >= 0 && (r = message_read(m, "s", &image)) > 0; n++)
                if (!check->json)
                        printf("%s%s", n == 0 ? _("  part of: ") : ", ", image);
        if (n > 0 && !check->json)
                putchar('\n');
        *ret_n = n;
        return r < 0 ? r : message_exit(m);
}

static int print_damaged(Message *m, void *userdata) {
        const char *kind, *id, *path, *why;
        Check *check = userdata;
        int r, repaired;
        size_t images;

        r = message_enter(m, 'a', "(ssssasb)");
        while (r >= 0 && (r = message_enter(m, 'r', NULL)) > 0) {
                _cleanup_free_ char *shown = NULL;

                r = message_read(m, "ssss", &kind, &id, &path, &why);
                if (r < 0)
                        break;
                shown = text_visible(path);
                if (!check->json)
                        printf("%s %s%s%s: %s\n", kind, id, *path ? " " : "", shown ?: "", why);
                r = print_images(check, m, &images);
                if (r >= 0)
                        r = message_read(m, "b", &repaired);
                if (r < 0)
                        break;
                check->damaged++;
                check->repaired += repaired ? 1 : 0;
                check->named += !repaired && images > 0 ? 1 : 0;
                check->aside += !repaired && !streq(kind, "chain") && !streq(kind, "content") ? 1 : 0;
                if (repaired && !check->json)
                        printf("%s\n", _("  repaired"));
                r = message_exit(m);
        }
        return r < 0 ? r : message_exit(m);
}

static int print_records(Message *m, void *userdata) {
        const char *record, *why;
        Check *check = userdata;
        int r;

        r = message_enter(m, 'a', "(ss)");
        while (r >= 0 && (r = message_read(m, "(ss)", &record, &why)) > 0) {
                check->records++;
                if (!check->json)
                        printf(_("record %s: %s\n"), record, why);
        }
        return r < 0 ? r : message_exit(m);
}

static int print_json(Check *check) {
        static const char *const damaged[] = { "Kind", "Id", "Path", "Why", "Images", "Repaired", NULL };
        static const char *const records[] = { "Record", "Why", NULL };
        static const Rows rows[] = { { "Damaged", damaged }, { "Records", records } };

        return job_print_rows(&check->job, rows, ELEMENTSOF(rows));
}

static int print_check(Check *check) {
        const Member members[] = { { "Damaged", "a(ssssasb)", NULL, print_damaged },
                                   { "Records", "a(ss)", NULL, print_records },
                                   { "Objects", "t", &check->objects, NULL },
                                   { "Bytes", "t", &check->bytes, NULL } };
        Ctl *ctl = check->job.ctl;
        char size[TEXT_SIZE_MAX];
        size_t left;
        int r;

        check->json = ctl->json;
        r = ctl->json ? print_json(check) : 0;
        if (r == 0)
                r = result_read(ctl, job_result(&check->job), members, ELEMENTSOF(members), check);
        if (r != 0)
                return r;
        left = check->damaged - check->repaired + check->records;
        if (left > 0)
                (void)fflush(stdout); /* before what is said about it */
        if (left > 0 && !check->repair)
                return ctl_error(ctl, _("%zu damaged; 'davitctl system check --repair' mends what has a second copy"),
                                 left);
        if (check->aside > 0)
                ctl_note(_("damaged files were put aside in /var/lib/davit/damaged; the images named above cannot be "
                           "started until one with each of their layers is imported again; running containers go on "
                           "with what they have until they are restarted"));
        if (left > 0 && check->named == 0 && check->records == 0)
                return ctl_error(ctl, _("%zu damaged; 'davitctl why-kept' says what needs it"), left);
        if (left > 0)
                return ctl_error(ctl, _("%zu damaged; import the images named above again, then check once more"),
                                 left);
        if (!check->job.quiet && !ctl->json)
                printf(_("%" PRIu64 " objects, %s: all is well.\n"), check->objects, text_size(check->bytes, size));
        return 0;
}

/* The method takes one flag, which an option of ours sets. */
static int run(Check *check, const char *method, const char *flag, bool set) {
        _cleanup_message_ Message *m = NULL;
        int r;

        r = job_new(&check->job, BUS_PATH, BUS_MANAGER, method, &m);
        if (r == 0)
                r = set ? message_append(m, "a{sv}", 1, flag, "b", 1) : message_append(m, "a{sv}", 0);
        if (r < 0)
                r = bus_protocol_error(check->job.ctl, r);
        return r == 0 ? job_run(&check->job, m) : r;
}

/** verb_system_check() - see above. */
int verb_system_check(Ctl *ctl, int argc, char **argv) {
        Check check = { .job = JOB_INIT(ctl, _("the check was cancelled")), .ls = { .ctl = ctl } };
        int r;

        r = options_parse(ctl, "system check", &argc, &argv, on_option, &check);
        if (r == 0)
                r = run(&check, "CheckStore", "Repair", check.repair);
        if (r == 0)
                r = print_check(&check);
        job_clear(&check.job);
        return r;
}

static int print_list(Message *m, void *userdata) {
        const char *id;
        int r;

        r = message_enter(m, 'a', "s");
        while (r >= 0 && (r = message_read(m, "s", &id)) > 0)
                printf("%s\n", id);
        ((Check *)userdata)->damaged++;
        return r < 0 ? r : message_exit(m);
}

static int print_collect(Check *check) {
        const Member members[] = { { "Chains", "as", NULL, print_list },
                                   { "Contents", "as", NULL, print_list },
                                   { "Objects", "t", &check->objects, NULL },
                                   { "Freed", "t", &check->freed, NULL } };
        _cleanup_free_ char *size = NULL;
        Ctl *ctl = check->job.ctl;
        int r;

        r = result_read(ctl, job_result(&check->job), members, ELEMENTSOF(members), check);
        if (r != 0)
                return r;
        size = cell_size(&check->ls, check->freed);
        printf(check->dry_run ? _("Would free %s in %" PRIu64 " objects.\n") : _("Freed %s in %" PRIu64 " objects.\n"),
               size ?: "", check->objects);
        return 0;
}

/** verb_system_collect() - see above. */
int verb_system_collect(Ctl *ctl, int argc, char **argv) {
        Check check = { .job = JOB_INIT(ctl, _("the collection was cancelled; the next one goes on")),
                        .ls = { .ctl = ctl } };
        int r;

        r = options_parse(ctl, "system collect", &argc, &argv, on_option, &check);
        if (r == 0)
                r = run(&check, "Collect", "DryRun", check.dry_run);
        if (r == 0)
                r = ctl->json ? job_print(&check.job) : print_collect(&check);
        job_clear(&check.job);
        return r;
}
