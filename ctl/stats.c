/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl stats: what running containers use. On a terminal a table that is drawn again and again until the user ends
 * it, or until the containers that were named have ended; elsewhere a line for each container and time. One call of the
 * manager tells of all of them. With --no-stream it looks twice, because a share of a processor is a difference.
 */

#include "ctl/stats.h"

#include <inttypes.h>
#include <time.h>

#include "ctl/table.h"
#include "ctl/terminal.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

#define INTERVAL_DEFAULT (2 * USEC_PER_SEC)
#define ONCE_INTERVAL (USEC_PER_SEC / 2)

enum { OPTION_NO_STREAM = OPTION_FREE };

const Option stats_options[] = {
        { OPTION_NO_STREAM, "no-stream", NULL, N_("Show it once") },
        { 'i', "interval", N_("SECONDS"), N_("Time between two looks (default: 2)") },
        { 'A', "all-namespaces", NULL, N_("Those of every namespace") },
        {},
};

typedef struct Stats {
        Ctl *ctl;
        bool once, all_namespaces, drawn;
        uint64_t interval;
        Strv ids;
        Sample before, now;
} Stats;

static int on_option(int key, const char *arg, void *userdata) {
        Stats *s = userdata;

        switch (key) {
        case OPTION_NO_STREAM:
                s->once = true;
                return 0;
        case 'A':
                s->all_namespaces = true;
                return 0;
        default:
                if (!parse_seconds(arg, &s->interval) || s->interval == 0 || s->interval > 86400 * USEC_PER_SEC)
                        return ctl_error(s->ctl, _("'%s' is no number of seconds"), arg);
                return 0;
        }
}

static char *size_cell(uint64_t n) {
        char text[TEXT_SIZE_MAX];

        return strdup(n == STATS_UNKNOWN ? "-" : text_size(n, text));
}

static char *percent_cell(double n) {
        return n < 0 ? strdup("-") : text_printf("%.1f%%", n);
}

static bool add_row(const Stats *s, Table *table, const Usage *u) {
        char *cells[TABLE_COLUMNS_MAX];
        size_t n = 0;

        cells[n++] = s->all_namespaces ? text_printf("%s/%s", u->ns, u->id) : strdup(u->id);
        cells[n++] = percent_cell(sample_cpu(&s->before, u));
        cells[n++] = size_cell(u->memory);
        cells[n++] = size_cell(u->limit);
        cells[n++] = percent_cell(u->pressure);
        cells[n++] = size_cell(u->read);
        cells[n++] = size_cell(u->written);
        cells[n++] = u->tasks == STATS_UNKNOWN ? strdup("-") : text_printf("%" PRIu64, u->tasks);
        return table_row(table, TABLE_PLAIN, cells);
}

static bool add_headings(Table *table) {
        return table_row(table, TABLE_PLAIN,
                         (char *[]){ strdup(_("CONTAINER")), strdup(_("CPU")), strdup(_("MEMORY")), strdup(_("LIMIT")),
                                     strdup(_("STALLED")), strdup(_("READ")), strdup(_("WRITTEN")),
                                     strdup(_("TASKS")) });
}

static int print_table(Stats *s, bool screen) {
        _cleanup_table_ Table table = { .n_columns = 8,
                                        .cut = 0,
                                        .coloured = TABLE_COLUMNS_MAX,
                                        .right = { false, true, true, true, true, true, true, true } };
        bool ok = true;

        if (screen || !s->drawn)
                ok = add_headings(&table);
        for (size_t i = 0; i < s->now.n && ok; i++)
                ok = add_row(s, &table, &s->now.v[i]);
        if (!ok)
                return ctl_oom(s->ctl);
        if (screen) /* from the top, and nothing of the last one below */
                fputs(s->drawn ? "\033[H\033[J" : "\033[2J\033[H", stdout);
        table_print(&table);
        (void)fflush(stdout);
        s->drawn = true;
        return 0;
}

static int show(Stats *s, bool screen) {
        int r;

        if (!s->ctl->json)
                return print_table(s, screen);
        r = sample_print_json(&s->now, !s->once);
        (void)fflush(stdout);
        return r < 0 ? bus_protocol_error(s->ctl, r) : 0;
}

static int look(Stats *s) {
        sample_clear(&s->before);
        s->before = s->now;
        s->now = (Sample){};
        return sample_take(s->ctl, s->all_namespaces ? "*" : s->ctl->ns, &s->ids, &s->now);
}

/* Until the time is up; what the manager says meanwhile is not for us. 0 or an exit status. */
static int pause_for(Stats *s, uint64_t usec) {
        struct timespec now;
        uint64_t until, at;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        until = (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC + usec;
        for (;;) {
                int r;

                (void)clock_gettime(CLOCK_MONOTONIC, &now);
                at = (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
                if (at >= until)
                        return 0;
                r = bus_step(s->ctl);
                if (r == 0)
                        r = bus_wait(s->ctl, (int)((until - at + 999) / 1000));
                if (r < 0 && r != -EINTR)
                        return bus_protocol_error(s->ctl, r);
        }
}

/* What was named has to run, each. 0, or an exit status after an error about each that does not. */
static int check_named(const Stats *s) {
        int status = 0;

        for (size_t i = 0; i < s->ids.n; i++) {
                bool found = false;

                for (size_t k = 0; k < s->now.n && !found; k++)
                        found = streq(s->now.v[k].id, s->ids.v[i]);
                if (!found)
                        status = ctl_error(s->ctl, _("container '%s' is not running"), s->ids.v[i]);
        }
        return status;
}

static int resolve(Ctl *ctl, const char *name, void *userdata) {
        char *id = container_resolve(ctl, name);
        Stats *s = userdata;

        if (!id)
                return ctl->failure;
        return strv_take(&s->ids, id) ? 0 : ctl_oom(ctl);
}

/* @status: what is to be exited with where all else goes well. */
static int stats(Stats *s, int status) {
        bool screen = !s->once && !s->ctl->json && terminal_columns() > 0;
        int r, named;

        r = look(s);
        if (r != 0)
                return r;
        named = check_named(s);
        if (named != 0)
                status = named;
        if (status != 0 && (!s->once || s->now.n == 0))
                return status;
        if (screen)
                r = show(s, screen);
        while (r == 0) {
                r = s->once && s->ctl->json ? 0 : pause_for(s, s->once ? ONCE_INTERVAL : s->interval);
                if (r == 0)
                        r = look(s);
                if (r == 0)
                        r = show(s, screen);
                if (s->once || (s->ids.n > 0 && s->now.n == 0) || ferror(stdout))
                        break;
        }
        return r == 0 ? status : r;
}

/** verb_stats() - see above. */
int verb_stats(Ctl *ctl, int argc, char **argv) {
        Stats s = { .ctl = ctl, .interval = INTERVAL_DEFAULT };
        int r;

        r = options_parse(ctl, "stats", &argc, &argv, on_option, &s);
        if (r == 0 && s.all_namespaces && argc > 0)
                r = ctl_error(ctl, "%s",
                              _("containers of one namespace are named, or those of all are shown, not both"));
        if (r == 0) {
                r = object_each(ctl, argc, argv, resolve, &s);
                if (s.ids.n > 0 || argc == 0)
                        r = stats(&s, r);
        }
        sample_clear(&s.before);
        sample_clear(&s.now);
        strv_clear(&s.ids);
        return r;
}
