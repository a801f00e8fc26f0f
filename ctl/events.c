/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl events: what happens, and what has happened since a moment or after an event that is known. The signals are
 * asked for first, then the manager's files and, where they do not go back far enough, the journal are read, then the
 * signals are shown from where the files ended; nothing is missed in between and nothing comes twice. A manager that
 * is restarted is asked again in the same way.
 */

#include "ctl/event.h"

#include <inttypes.h>
#include <time.h>

#include "ctl/listing.h"
#include "ctl/verbs.h"

enum { OPTION_SINCE = OPTION_FREE, OPTION_UNTIL, OPTION_CURSOR, OPTION_FORMAT };

const Option events_options[] = {
        { OPTION_SINCE, "since", N_("TIME"), N_("Also those since then: a date, or how long ago") },
        { OPTION_UNTIL, "until", N_("TIME"), N_("Only those until then, and end (\"0s\": now)") },
        { OPTION_CURSOR, "cursor", N_("N"), N_("Also those after the event with this number") },
        { 'f', "filter", N_("KEY=VALUE"), N_("Only those of this type, id, container or image") },
        { OPTION_FORMAT, "format", N_("FORMAT"), N_("text, or json: an object a line") },
        LISTING_ALL,
        {},
};

typedef struct Events {
        Ctl *ctl;
        EventFilter filter;
        bool history; /* what has been is wanted, too */
        bool everywhere;
        bool open;  /* signals are shown; those before are in the files */
        bool asked; /* the manager was asked once at least */
        bool again; /* there is a new manager to ask */
        bool over;  /* the time is up */
        int status;
} Events;

static int format(Ctl *ctl, const char *arg) {
        ctl->json = streq(arg, "json");
        if (!ctl->json && !streq(arg, "text"))
                return ctl_error(ctl, _("'%s' is no format of events; give text or json"), arg);
        return 0;
}

static int on_option(int key, const char *arg, void *userdata) {
        Events *e = userdata;

        switch (key) {
        case OPTION_SINCE:
                e->history = true;
                return moment_option(e->ctl, arg, &e->filter.since);
        case OPTION_UNTIL:
                return moment_option(e->ctl, arg, &e->filter.until);
        case OPTION_CURSOR:
                e->history = true;
                if (!parse_unsigned(arg, UINT64_MAX, &e->filter.after))
                        return ctl_error(e->ctl, _("'%s' is no number of an event"), arg);
                return 0;
        case OPTION_FORMAT:
                return format(e->ctl, arg);
        case 'A':
                e->everywhere = true;
                return 0;
        default:
                return event_filter_add(e->ctl, &e->filter, arg);
        }
}

/* ---- signals ---- */

static void on_event(Events *e, Message *m) {
        Event event = {};

        if (!e->open || event_from_signal(m, &event) < 0 || event.sequence <= e->filter.after)
                return;
        if (event.time > e->filter.until)
                e->over = true;
        if (event_wanted(&event, &e->filter))
                event_print(e->ctl, &event);
        e->filter.after = event.sequence;
}

static void on_signal(Message *m, void *userdata) {
        const char *name, *before, *after;
        Events *e = userdata;

        if (!m->member)
                return;
        if (streq(m->member, "Event"))
                on_event(e, m);
        else if (streq(m->member, "NameOwnerChanged") && message_read(m, "sss", &name, &before, &after) >= 0 &&
                 streq(name, BUS_NAME)) {
                e->open = false;
                e->again = *after;
        }
}

static int listen_to(Events *e) {
        _cleanup_free_ char *rule = NULL, *path = path_encode(BUS_PATH "/ns", e->ctl->ns);
        int r;

        if (!path)
                return ctl_oom(e->ctl);
        rule = text_printf("type='signal',sender='" BUS_NAME "',interface='" BUS_NAMESPACE "',member='Event',%s='%s'",
                           e->everywhere ? "path_namespace" : "path", e->everywhere ? BUS_PATH "/ns" : path);
        if (!rule)
                return ctl_oom(e->ctl);
        r = bus_connect(e->ctl);
        if (r != 0)
                return r;
        r = bus_match(e->ctl, rule, on_signal, e);
        if (r >= 0)
                r = bus_match(e->ctl,
                              "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                              "member='NameOwnerChanged',arg0='" BUS_NAME "'",
                              on_signal, e);
        return r < 0 ? bus_protocol_error(e->ctl, r) : 0;
}

/* ---- what has been ---- */

/* Whether the files begin too late; the time of their first event is in it. */
static bool needs_journal(const Events *e, uint64_t first) {
        return e->filter.after > 0 ? e->filter.after + 1 < first : first > 1;
}

static int read_history(Events *e, Message *reply, uint64_t first, uint64_t next) {
        int fd, r = 0, s;

        if (needs_journal(e, first))
                r = events_of_journal(e->ctl, &e->filter, first);
        s = message_enter(reply, 'a', "h");
        while (r == 0 && s >= 0 && (s = message_read_basic(reply, 'h', &fd)) > 0)
                r = events_of_file(e->ctl, &e->filter, fd, next);
        if (r == 0 && s >= 0)
                s = message_exit(reply);
        return r == 0 && s < 0 ? bus_protocol_error(e->ctl, s) : r;
}

/* Asks the manager for what it has, and shows it; signals are shown from there on. 0 or an exit status. */
static int ask(Events *e) {
        _cleanup_call_ Call call = {};
        uint64_t first, next;
        int r;

        e->again = false;
        r = call_simple(e->ctl, &call, BUS_PATH, BUS_MANAGER, "OpenEvents", NULL);
        if (r == 0)
                r = call_wait(e->ctl, &call);
        if (r != 0)
                return r;
        if (e->asked && error_is_bus(call_error(&call), "NoReply"))
                return 0; /* the next one will be told of */
        if (call_error(&call))
                return call_report(e->ctl, &call, NULL);
        r = message_read(call.reply, "tt", &first, &next);
        if (r < 0)
                return bus_protocol_error(e->ctl, r);
        if (e->history || e->asked)
                r = read_history(e, call.reply, first, next);
        else
                r = 0;
        if (e->filter.after < next - 1)
                e->filter.after = next - 1;
        e->asked = e->open = true;
        return r;
}

/* ---- what comes ---- */

/* Milliseconds until the time is up, -1: it never is. */
static int time_left(const Events *e) {
        struct timespec ts;
        uint64_t now, left;

        if (e->filter.until == UINT64_MAX)
                return -1;
        (void)clock_gettime(CLOCK_REALTIME, &ts);
        now = (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
        left = e->filter.until > now ? (e->filter.until - now) / 1000 + 1 : 0;
        return left > 3600000 ? 3600000 : (int)left;
}

static int follow(Events *e) {
        int r = 0;

        while (r == 0 && !e->over && !ferror(stdout)) {
                int left = time_left(e), s;

                if (e->again) {
                        r = ask(e);
                        continue;
                }
                s = left == 0 ? 0 : bus_step(e->ctl);
                if (s == 0 && left != 0)
                        s = bus_wait(e->ctl, left);
                if (s < 0 && s != -EINTR) {
                        ctl_note(_("go on with --cursor=%" PRIu64), e->filter.after);
                        return bus_protocol_error(e->ctl, s);
                }
                if (left == 0)
                        break;
        }
        return r;
}

/** verb_events() - see above. */
int verb_events(Ctl *ctl, int argc, char **argv) {
        Events e = { .ctl = ctl, .filter.until = UINT64_MAX };
        int r;

        r = options_parse(ctl, "events", &argc, &argv, on_option, &e);
        e.filter.ns = e.everywhere ? NULL : ctl->ns;
        if (r == 0)
                r = listen_to(&e);
        if (r == 0)
                namespace_note(ctl, e.everywhere);
        if (r == 0)
                r = ask(&e);
        if (r == 0)
                r = follow(&e);
        event_filter_clear(&e.filter);
        return r;
}
