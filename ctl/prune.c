/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image prune and system prune: remove what nothing uses. First the manager says what would go and how much
 * that frees; it goes when the user has agreed to it. What is pinned, running or leased is in no plan. Between plan and
 * deed things may have changed, so what is printed at the end is what really went.
 */

#include "ctl/job.h"
#include "ctl/listing.h"
#include "ctl/verbs.h"

enum { OPTION_DRY_RUN = OPTION_FREE, OPTION_KIND, OPTION_LABEL, OPTION_UNTIL, OPTION_DANGLING };

#define PRUNE_COMMON                                                                                                   \
        { OPTION_DRY_RUN, "dry-run", NULL, N_("Only show what would go") }, { 'y', "yes", NULL, N_("Do not ask") },    \
                { OPTION_LABEL, "label", N_("KEY[=VALUE]"), N_("Only what has this label") },                          \
                { OPTION_UNTIL, "until", N_("TIME"), N_("Only what is older: an age such as 24h, or a date") },        \
                LISTING_ALL, LISTING_NO_TRUNC, LISTING_BYTES, {                                                        \
                'q', "quiet", NULL, N_("Print what went, without sizes and progress")                                  \
        }

const Option image_prune_options[] = {
        { OPTION_DANGLING, "dangling", NULL, N_("Only those without a name of their own") },
        PRUNE_COMMON,
        {},
};

const Option system_prune_options[] = {
        { OPTION_KIND, "kind", N_("KIND"), N_("Only containers, images, snapshots, content or space") },
        { OPTION_DANGLING, "dangling", NULL, N_("Of images only those without a name of their own") },
        PRUNE_COMMON,
        {},
};

typedef struct Prune {
        Job job;
        Listing ls;
        bool dry_run, yes, dangling;
        uint64_t until;
        Strv kinds, labels;
        uint64_t freed;
        uint64_t bytes; /* of all in the plan; what they share counts more than once */
        size_t n;       /* things in the plan */
} Prune;

static int on_option(int key, const char *arg, void *userdata) {
        Prune *prune = userdata;
        Ctl *ctl = prune->job.ctl;

        switch (key) {
        case OPTION_DRY_RUN:
                prune->dry_run = true;
                return 0;
        case 'y':
                prune->yes = true;
                return 0;
        case OPTION_DANGLING:
                prune->dangling = true;
                return 0;
        case OPTION_KIND:
                return strv_add(&prune->kinds, arg) ? 0 : ctl_oom(ctl);
        case OPTION_LABEL:
                return strv_add(&prune->labels, arg) ? 0 : ctl_oom(ctl);
        case OPTION_UNTIL:
                return moment_option(ctl, arg, &prune->until);
        case 'q':
                prune->job.quiet = true;
                return listing_option(key, arg, &prune->ls);
        default:
                return listing_option(key, arg, &prune->ls);
        }
}

static int ask_manager(Prune *prune, bool dry_run) {
        _cleanup_message_ Message *m = NULL;
        Ctl *ctl = prune->job.ctl;
        int r;

        r = job_new(&prune->job, BUS_PATH, BUS_MANAGER, "Prune", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", prune->ls.all_namespaces ? "*" : ctl->ns);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && dry_run)
                r = option_bool(m, "DryRun", true);
        if (r >= 0 && prune->kinds.n > 0)
                r = option_strv(m, "Kinds", prune->kinds.v);
        if (r >= 0 && prune->labels.n > 0)
                r = option_strv(m, "Label", prune->labels.v);
        if (r >= 0 && prune->until > 0)
                r = option_u64(m, "Until", prune->until);
        if (r >= 0 && prune->dangling)
                r = option_bool(m, "Dangling", true);
        if (r >= 0)
                r = message_close(m);
        return r < 0 ? bus_protocol_error(ctl, r) : job_run(&prune->job, m);
}

static int read_plan(Message *m, void *userdata) {
        const char *kind, *ns, *id;
        Prune *prune = userdata;
        Listing *ls = &prune->ls;
        uint64_t bytes;
        int r;

        r = message_enter(m, 'a', "(ssst)");
        while (r >= 0 && (r = message_read(m, "(ssst)", &kind, &ns, &id, &bytes)) > 0) {
                char *cells[4];
                size_t n = 0;

                prune->n++;
                prune->bytes += bytes;
                if (ls->quiet)
                        printf("%s %s\n", kind, id);
                if (ls->all_namespaces)
                        cells[n++] = strdup(*ns ? ns : "-");
                cells[n++] = strdup(id);
                cells[n++] = strdup(kind);
                cells[n++] = cell_size(ls, bytes);
                if (!table_row(&ls->table, TABLE_PLAIN, cells))
                        return -ENOMEM;
        }
        return r < 0 ? r : message_exit(m);
}

static int print_json(Prune *prune) {
        static const char *const names[] = { "Kind", "Namespace", "Id", "Size", NULL };

        return job_print_rows(&prune->job, &(const Rows){ "Plan", names }, 1);
}

/* Prints what would go, or what went; with quiet, names alone. */
static int print_plan(Prune *prune, bool quiet) {
        static const char *const headings[] = { N_("NAME"), N_("KIND"), N_("SIZE"), NULL };
        const Member members[] = { { "Plan", "a(ssst)", NULL, read_plan }, { "Freed", "t", &prune->freed, NULL } };
        Ctl *ctl = prune->job.ctl;
        int r;

        table_clear(&prune->ls.table);
        prune->n = 0;
        prune->bytes = 0;
        prune->ls.quiet = quiet;
        if (!listing_headings(&prune->ls, headings, 1))
                return ctl_oom(ctl);
        r = result_read(ctl, job_result(&prune->job), members, ELEMENTSOF(members), prune);
        if (r == 0 && prune->n > 0)
                listing_print(&prune->ls);
        return r;
}

static int confirm(Prune *prune) {
        char answer[8] = "";
        _cleanup_free_ char *size = cell_size(&prune->ls, prune->bytes);
        Ctl *ctl = prune->job.ctl;

        if (prune->yes)
                return 0;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return ctl_error(ctl, _("nothing was removed; add --yes where nobody can be asked"));
        (void)fflush(stdout);
        (void)fprintf(stderr, _("Remove all this, about %s, and what nothing else keeps in the store? [y/N] "),
                      size ?: "");
        (void)fflush(stderr);
        if (fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y'))
                return 0;
        return ctl_error(ctl, _("nothing was removed"));
}

static int show_plan(Prune *prune) {
        bool quiet = prune->ls.quiet;
        Ctl *ctl = prune->job.ctl;
        int r;

        r = ask_manager(prune, true);
        if (r != 0)
                return r;
        if (ctl->json && prune->dry_run)
                return print_json(prune);
        /* with quiet or JSON, standard output is for what went */
        if (prune->yes && (quiet || ctl->json))
                return 0;
        r = print_plan(prune, quiet && prune->dry_run);
        prune->ls.quiet = quiet;
        if (r == 0 && prune->n == 0 && !quiet)
                printf("%s\n", _("There is nothing to remove."));
        return r;
}

static int print_freed(Prune *prune) {
        const Member members[] = { { "Freed", "t", &prune->freed, NULL } };
        _cleanup_free_ char *size = NULL;
        int r;

        r = result_read(prune->job.ctl, job_result(&prune->job), members, ELEMENTSOF(members), prune);
        if (r != 0)
                return r;
        size = cell_size(&prune->ls, prune->freed);
        if (prune->freed > prune->bytes) {
                _cleanup_free_ char *more = cell_size(&prune->ls, prune->freed - prune->bytes);

                printf(_("Freed %s, %s of it were layers and files of the store that nothing else kept.\n"), size ?: "",
                       more ?: "");
        } else
                printf(_("Freed %s.\n"), size ?: "");
        return 0;
}

static int prune_all(Prune *prune) {
        bool quiet = prune->ls.quiet, silent;
        Ctl *ctl = prune->job.ctl;
        int r;

        silent = prune->yes && (quiet || ctl->json);
        r = show_plan(prune);
        if (r != 0 || prune->dry_run || (prune->n == 0 && !silent))
                return r;
        job_clear(&prune->job); /* ctrl-c at the question ends davitctl */
        r = confirm(prune);
        if (r == 0)
                r = ask_manager(prune, false);
        if (r != 0)
                return r;
        if (ctl->json)
                return print_json(prune);
        return quiet ? print_plan(prune, true) : print_freed(prune);
}

static int prune_verb(Ctl *ctl, const char *verb, const char *kind, int argc, char **argv) {
        Prune prune = { .job = JOB_INIT(ctl, _("cancelled; what was removed before that stays removed")),
                        .ls = { .ctl = ctl } };
        int r;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &prune);
        if (r == 0 && kind && !strv_add(&prune.kinds, kind))
                r = ctl_oom(ctl);
        if (r == 0)
                r = prune_all(&prune);
        job_clear(&prune.job);
        listing_clear(&prune.ls);
        strv_clear(&prune.kinds);
        strv_clear(&prune.labels);
        return r;
}

/** verb_image_prune() - see above. */
int verb_image_prune(Ctl *ctl, int argc, char **argv) {
        return prune_verb(ctl, "image prune", "images", argc, argv);
}

/** verb_system_prune() - see above. */
int verb_system_prune(Ctl *ctl, int argc, char **argv) {
        return prune_verb(ctl, "system prune", NULL, argc, argv);
}
