/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl logs: what a container wrote to the journal since it was created, under whatever name, and how much journald
 * has left out. The journal is journalctl's to show: this finds out which container is meant, since when it exists, and
 * becomes journalctl, or follows by means of follow.c. Output that went to descriptors or to a file is not in the
 * journal.
 */

#include <inttypes.h>

#include "ctl/bus.h"
#include "ctl/follow.h"
#include "ctl/text.h"
#include "ctl/verbs.h"
#include "shared/name.h"

/* "Suppressed N messages from UNIT". Source: systemd, sd-messages.h, SD_MESSAGE_JOURNAL_DROPPED. */
#define MESSAGE_ID_DROPPED "a596d6fe7bfa4994828e72309e95d61e"

enum { OPTION_SINCE = OPTION_FREE, OPTION_UNTIL };

const Option logs_options[] = {
        { 'f', "follow", NULL, N_("Go on showing what it writes") },
        { 'n', "tail", N_("N"), N_("Only the last N lines") },
        { 't', "timestamps", NULL, N_("With the time of each line") },
        { OPTION_SINCE, "since", N_("TIME"), N_("Only what is newer: a date, or how long ago") },
        { OPTION_UNTIL, "until", N_("TIME"), N_("Only what is older") },
        {},
};

typedef struct Logs {
        Ctl *ctl;
        bool follow, timestamps;
        const char *lines;
        uint64_t since, until, created;
        bool renamed;
} Logs;

static int on_option(int key, const char *arg, void *userdata) {
        Logs *logs = userdata;
        uint64_t n;

        switch (key) {
        case 'f':
                logs->follow = true;
                return 0;
        case 't':
                logs->timestamps = true;
                return 0;
        case OPTION_SINCE:
                return moment_option(logs->ctl, arg, &logs->since);
        case OPTION_UNTIL:
                return moment_option(logs->ctl, arg, &logs->until);
        default:
                logs->lines = arg;
                if (!streq(arg, "all") && !parse_unsigned(arg, UINT32_MAX, &n))
                        return ctl_error(logs->ctl, _("'%s' is no number of lines"), arg);
                return 0;
        }
}

/* A property of the task that is true or false; -1 where it is not known. */
static int task_property(Ctl *ctl, const char *path, const char *interface, const char *name) {
        _cleanup_call_ Call call = {};
        int value;

        if (call_simple(ctl, &call, path, DBUS_PROPERTIES, "Get", "ss", interface, name) != 0 ||
            call_wait(ctl, &call) != 0 || call_error(&call) || message_read(call.reply, "v", "b", &value) < 0)
                return -1;
        return value;
}

/* Why there is nothing to be seen, where that is so. Of what runs nothing will come, so nobody is kept waiting. */
static int note_elsewhere(Logs *logs, const char *id) {
        _cleanup_free_ char *path = path_of(logs->ctl->ns, "task", id);
        const char *why;

        if (!path)
                return ctl_oom(logs->ctl);
        if (task_property(logs->ctl, path, BUS_TASK, "Journal") != 0)
                return 0;
        why = task_property(logs->ctl, path, BUS_PROCESS, "Terminal") > 0 ?
                      _("the output of container '%s' does not go to the journal but to its terminal (-t)") :
                      _("the output of container '%s' does not go to the journal: it was started in the foreground "
                        "(without -d), or with a --log that says so");
        if (logs->follow && task_lives(logs->ctl, id))
                return ctl_error(logs->ctl, why, id);
        ctl_note(why, id);
        return 0;
}

/* Since when the container exists, in microseconds, and whether it had another name; 0 or an exit status. */
static int ask(Logs *logs, const char *id) {
        _cleanup_free_ char *path = path_of(logs->ctl->ns, "container", id);
        _cleanup_call_ Call created = {}, renamed = {};
        const char *before;
        int r;

        if (!path)
                return ctl_oom(logs->ctl);
        r = call_simple(logs->ctl, &created, path, DBUS_PROPERTIES, "Get", "ss", BUS_CONTAINER, "CreatedAt");
        if (r == 0)
                r = call_wait(logs->ctl, &created);
        if (r != 0)
                return r;
        if (call_error(&created))
                return call_report(logs->ctl, &created, id);
        r = property_get(logs->ctl, &renamed, path, BUS_CONTAINER, "RenamedFrom");
        if (r != 0)
                return r;
        r = message_read(created.reply, "v", "t", &logs->created);
        if (r >= 0)
                r = message_read(renamed.reply, "v", "s", &before);
        if (r < 0)
                return bus_protocol_error(logs->ctl, r);
        logs->renamed = *before;
        return 0;
}

static bool add_time(Strv *argv, const char *option, uint64_t usec) {
        return strv_take(argv,
                         text_printf("%s=@%" PRIu64 ".%06" PRIu64, option, usec / USEC_PER_SEC, usec % USEC_PER_SEC));
}

/* The lines of the container itself, by when it was made, which stays when it gets another name; those of the unit
 * since then, where journald has not got to reading the fields; and what it says of lines it did not take. The unit of
 * a container that was renamed may have been another's meanwhile. The scope's own lines from systemd have other fields.
 */
static bool add_matches(const Logs *logs, const char *scope, Strv *argv) {
        bool ok = strv_take(argv, text_printf("CONTAINER_CREATED_AT=%" PRIu64, logs->created)) &&
                  strv_take(argv, text_printf("CONTAINER_NAMESPACE=%s", logs->ctl->ns)) &&
                  strv_add(argv, "_TRANSPORT=stdout");

        if (!ok || logs->renamed)
                return ok;
        return strv_add(argv, "+") && strv_take(argv, text_printf("_SYSTEMD_UNIT=%s", scope)) &&
               strv_add(argv, "_TRANSPORT=stdout") && strv_add(argv, "+") &&
               strv_take(argv, text_printf("OBJECT_SYSTEMD_UNIT=%s", scope)) && strv_add(argv, "_TRANSPORT=driver") &&
               strv_add(argv, "MESSAGE_ID=" MESSAGE_ID_DROPPED);
}

static bool arguments(const Logs *logs, const char *id, Strv *argv) {
        char scope[NAME_UNIT_MAX];
        bool ok;

        if (name_scope(logs->ctl->ns, id, scope) < 0)
                return false;
        ok = strv_add(argv, "journalctl") && strv_add(argv, "--no-pager") && strv_add(argv, "--quiet") &&
             strv_add(argv, "--output");
        ok = ok && strv_add(argv, logs->ctl->json ? "json" : logs->timestamps ? "short-iso-precise" : "cat");
        ok = ok && add_time(argv, "--since", logs->since);
        if (logs->until < UINT64_MAX)
                ok = ok && add_time(argv, "--until", logs->until);
        return ok && add_matches(logs, scope, argv);
}

/** verb_logs() - see above. */
int verb_logs(Ctl *ctl, int argc, char **argv) {
        _cleanup_free_ char *id = NULL;
        _cleanup_strv_ Strv command = {};
        Logs logs = { .ctl = ctl, .until = UINT64_MAX };
        int r;

        r = options_parse(ctl, "logs", &argc, &argv, on_option, &logs);
        if (r != 0)
                return r;
        id = container_resolve(ctl, argv[0]);
        if (!id)
                return ctl->failure;
        r = ask(&logs, id);
        if (r == 0)
                r = note_elsewhere(&logs, id);
        if (r != 0)
                return r;
        if (logs.since < logs.created)
                logs.since = logs.created;
        if (logs.until <= logs.since)
                return 0; /* which journalctl would refuse */
        if (!arguments(&logs, id, &command))
                return ctl_oom(ctl);
        if (logs.follow || logs.lines)
                return logs_follow(ctl, logs.follow ? id : NULL, &command, logs.lines ?: "all");
        (void)fflush(stdout);
        (void)execvp(command.v[0], command.v);
        return ctl_error(ctl, _("cannot run journalctl: %s"), strerror(errno));
}
