/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl ps: lists containers, those that run, or with -a all of them; newest first. As a table it shows what
 * fits, as JSON everything the two list calls tell. The manager filters by id, label and image, the status is
 * looked at here, because a container that never ran has no task.
 */

#include "ctl/containers.h"

#include <time.h>

#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

#define COMMAND_MAX 32U

enum { OPTION_NO_TRUNC = OPTION_FREE, OPTION_ALL_NAMESPACES };

const Option ps_options[] = {
        { 'a', "all", NULL, N_("Those that do not run, too") },
        { 'q', "quiet", NULL, N_("Print ids only") },
        { 'f', "filter", N_("KEY=VALUE"), N_("Only those with this id, label, image or status") },
        { 'l', "latest", NULL, N_("The one created last, whether it runs or not") },
        { 'A', "all-namespaces", NULL, N_("Those of every namespace") },
        { OPTION_NO_TRUNC, "no-trunc", NULL, N_("Do not shorten anything") },
        {},
};

typedef struct Ps {
        Ctl *ctl;
        bool all, quiet, latest, all_namespaces, no_trunc;
        Filters filters;
        const char *newest; /* id, with latest */
} Ps;

static int add_status(Ps *ps, const char *word) {
        static const char *const words[] = { "created", "running", "pausing", "paused",
                                             "stopped", "exited",  "unknown", NULL };

        for (const char *const *w = words; *w; w++)
                if (streq(*w, word)) {
                        ps->all = true;
                        return strv_add(&ps->filters.statuses, word) ? 0 : ctl_oom(ps->ctl);
                }
        return ctl_error(ps->ctl, _("'%s' is no status; give created, running, pausing, paused, stopped (or exited) "
                                    "or unknown"),
                         word);
}

static int add_filter(Ps *ps, const char *arg) {
        const char *value = strchr(arg, '=');
        size_t n = value ? (size_t)(value - arg) : 0;
        Strv *list = NULL;

        if (!value)
                return ctl_error(ps->ctl, _("'%s' is no filter; give id=, name=, label=, image= or status="), arg);
        value++;
        if (!*value)
                return ctl_error(ps->ctl, _("filter '%s' has no value"), arg);
        if (strncmp(arg, "image", n) == 0 && n == 5) {
                ps->filters.image = value;
                return 0;
        }
        if ((n == 2 && strncmp(arg, "id", n) == 0) || (n == 4 && strncmp(arg, "name", n) == 0))
                list = &ps->filters.ids;
        else if (n == 5 && strncmp(arg, "label", n) == 0)
                list = &ps->filters.labels;
        else if (n == 6 && strncmp(arg, "status", n) == 0)
                return add_status(ps, value);
        else
                return ctl_error(ps->ctl, _("'%s' is no filter; give id=, name=, label=, image= or status="), arg);
        return strv_add(list, value) ? 0 : ctl_oom(ps->ctl);
}

static int on_option(int key, const char *arg, void *userdata) {
        Ps *ps = userdata;

        switch (key) {
        case 'a':
                ps->all = true;
                return 0;
        case 'q':
                ps->quiet = true;
                return 0;
        case 'l':
                ps->all = ps->latest = true;
                return 0;
        case 'A':
                ps->all_namespaces = true;
                return 0;
        case OPTION_NO_TRUNC:
                ps->no_trunc = true;
                return 0;
        default:
                return add_filter(ps, arg);
        }
}

static bool shown(const Ps *ps, const Container *c) {
        if (ps->latest && c->id != ps->newest)
                return false;
        return ps->all || (c->has_task && !streq(c->status, "stopped") && !streq(c->status, "created"));
}

static char *status_text(const Container *c, uint64_t now) {
        _cleanup_free_ char *when = NULL;

        if (streq(c->status, "stopped")) {
                when = text_age(c->exited_at, now);
                if (streq(c->kind, "exited") || !*c->kind)
                        return text_printf(_("exited (%u) %s"), c->exit_status, when);
                if (streq(c->kind, "lost"))
                        return text_printf("%s", _("lost"));
                return text_printf(_("%s (%u) %s"), c->kind, c->exit_status, when);
        }
        if (!c->has_task || c->started_at == 0)
                return strdup(c->status);
        when = text_span(now > c->started_at ? now - c->started_at : 0);
        return streq(c->status, "running") ? text_printf(_("up %s"), when)
                                           : text_printf(_("up %s (%s)"), when, c->status);
}

static TableColour status_colour(const Container *c) {
        if (streq(c->status, "running"))
                return TABLE_GREEN;
        if (streq(c->status, "paused") || streq(c->status, "pausing"))
                return TABLE_YELLOW;
        return streq(c->status, "stopped") && c->exit_status != 0 ? TABLE_RED : TABLE_PLAIN;
}

static char *command_text(const Ps *ps, const Container *c) {
        char *text = text_command(c->command);
        size_t i = 0;

        if (!text || ps->no_trunc || text_width(text) <= COMMAND_MAX)
                return text;
        for (size_t n = 0; text[i] && (n < COMMAND_MAX - 1 || ((unsigned char)text[i] & 0xc0) == 0x80); i++)
                n += ((unsigned char)text[i] & 0xc0) != 0x80;
        text[i] = '\0';
        char *cut = text_printf("%s…", text);
        free(text);
        return cut;
}

static bool add_row(const Ps *ps, Table *table, const Container *c, uint64_t now) {
        char *cells[TABLE_COLUMNS_MAX];
        size_t n = 0;

        if (ps->all_namespaces)
                cells[n++] = strdup(c->ns);
        cells[n++] = strdup(c->id);
        cells[n++] = strdup(*c->image ? c->image : "-");
        cells[n++] = command_text(ps, c);
        cells[n++] = text_age(c->created, now);
        cells[n++] = status_text(c, now);
        cells[n++] = c->pid > 0 && !streq(c->status, "stopped") ? text_printf("%u", c->pid) : strdup("-");
        return table_row(table, status_colour(c), cells);
}

static int print_table(const Ps *ps, const Containers *all) {
        size_t extra = ps->all_namespaces;
        _cleanup_table_ Table table = { .n_columns = 6 + extra,
                                        .cut = ps->no_trunc ? TABLE_COLUMNS_MAX : 2 + extra,
                                        .coloured = 4 + extra };
        uint64_t now = (uint64_t)time(NULL) * USEC_PER_SEC;
        char *headings[TABLE_COLUMNS_MAX];
        size_t n = 0;
        bool ok;

        if (extra)
                headings[n++] = strdup(_("NAMESPACE"));
        headings[n++] = strdup(_("CONTAINER"));
        headings[n++] = strdup(_("IMAGE"));
        headings[n++] = strdup(_("COMMAND"));
        headings[n++] = strdup(_("CREATED"));
        headings[n++] = strdup(_("STATUS"));
        headings[n++] = strdup(_("PID"));
        table.right[n - 1] = true;
        ok = table_row(&table, TABLE_PLAIN, headings);
        for (size_t i = 0; i < all->n && ok; i++)
                if (shown(ps, &all->v[i]))
                        ok = add_row(ps, &table, &all->v[i], now);
        if (!ok)
                return ctl_oom(ps->ctl);
        table_print(&table);
        return 0;
}

static void json_member(Json *j, const char *key, const char *value) {
        json_key(j, key);
        json_string(j, value);
}

static void json_number(Json *j, const char *key, uint64_t value) {
        json_key(j, key);
        json_u64(j, value);
}

/* One that is 0 where there is none. */
static void json_some(Json *j, const char *key, uint64_t value) {
        json_number(j, key, value > 0 ? value : UINT64_MAX);
}

static void print_json_container(Json *j, const Container *c) {
        json_open(j, '{');
        json_member(j, "Namespace", c->ns);
        json_member(j, "Id", c->id);
        json_member(j, "Image", c->image);
        json_key(j, "Command");
        json_strv(j, c->command);
        json_key(j, "Labels");
        json_open(j, '{');
        for (size_t i = 0; i + 1 < c->labels.n; i += 2)
                json_member(j, c->labels.v[i], c->labels.v[i + 1]);
        json_close(j, '}');
        json_number(j, "CreatedAt", c->created);
        json_member(j, "Status", c->status);
        json_some(j, "Pid", c->pid);
        json_some(j, "StartedAt", c->started_at);
        json_number(j, "ExitStatus", *c->kind ? c->exit_status : UINT64_MAX);
        json_member(j, "ExitKind", c->kind);
        json_some(j, "ExitedAt", c->exited_at);
        json_member(j, "Object", c->object);
        json_close(j, '}');
}

static void print_json(const Ps *ps, const Containers *all) {
        Json j = {};

        json_open(&j, '[');
        for (size_t i = 0; i < all->n; i++)
                if (shown(ps, &all->v[i]))
                        print_json_container(&j, &all->v[i]);
        json_close(&j, ']');
        json_end(&j);
}

static int list(Ps *ps) {
        _cleanup_containers_ Containers all = {};
        int r;

        r = containers_list(ps->ctl, ps->all_namespaces ? "*" : ps->ctl->ns, &ps->filters, &all);
        if (r != 0)
                return r;
        namespace_note(ps->ctl, ps->all_namespaces);
        ps->newest = all.n > 0 ? all.v[0].id : NULL;
        if (ps->quiet) {
                for (size_t i = 0; i < all.n; i++)
                        if (shown(ps, &all.v[i]))
                                printf("%s\n", all.v[i].id);
                return 0;
        }
        if (ps->ctl->json) {
                print_json(ps, &all);
                return 0;
        }
        return print_table(ps, &all);
}

/** verb_ps() - see above. */
int verb_ps(Ctl *ctl, int argc, char **argv) {
        Ps ps = { .ctl = ctl };
        int r;

        r = options_parse(ctl, "ps", &argc, &argv, on_option, &ps);
        if (r == 0)
                r = list(&ps);
        strv_clear(&ps.filters.ids);
        strv_clear(&ps.filters.labels);
        strv_clear(&ps.filters.statuses);
        return r;
}
