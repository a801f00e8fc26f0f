/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl snapshot prepare, view, commit and rm: a snapshot from its beginning to its end. prepare makes one to be
 * written to, view one to be read, commit turns a written one into one that others may stand on. Names are keys the
 * user chooses; which parent a word means is the manager's to know.
 */

#include "ctl/job.h"
#include "ctl/verbs.h"

enum { OPTION_CONTINUE = OPTION_FREE, OPTION_LEASE };

const Option snapshot_prepare_options[] = {
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps it") },
        {},
};

const Option snapshot_commit_options[] = {
        { OPTION_CONTINUE, "continue", NULL, N_("Keep the snapshot as it is, to go on with it") },
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps it") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Snapshot {
        Job job;
        bool view, go_on;
        const char *lease;
        Strv labels;
} Snapshot;

static int on_option(int key, const char *arg, void *userdata) {
        Snapshot *s = userdata;

        switch (key) {
        case 'l':
                return strv_add(&s->labels, arg) ? 0 : ctl_oom(s->job.ctl);
        case OPTION_LEASE:
                s->lease = arg;
                return 0;
        case OPTION_CONTINUE:
                s->go_on = true;
                return 0;
        default:
                s->job.quiet = true;
                return 0;
        }
}

static int append_options(const Snapshot *s, Message *m) {
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && s->view)
                r = option_bool(m, "View", true);
        if (r >= 0 && s->go_on)
                r = option_bool(m, "Continue", true);
        if (r >= 0 && s->labels.n > 0)
                r = option_labels(m, "Labels", &s->labels);
        if (r >= 0 && s->lease)
                r = option_string(m, "Lease", s->lease);
        return r < 0 ? r : message_close(m);
}

static int prepare(Snapshot *s, const char *key, const char *parent) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call call = {};
        Ctl *ctl = s->job.ctl;
        int r;

        r = call_new(ctl, BUS_PATH, BUS_MANAGER, "PrepareSnapshot", &m);
        if (r != 0)
                return r;
        r = message_append(m, "sss", ctl->ns, key, parent);
        if (r >= 0)
                r = append_options(s, m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &call, m);
        if (r == 0)
                r = call_finish(ctl, &call, key);
        if (r == 0)
                printf("%s\n", key);
        return r;
}

static int prepare_verb(Ctl *ctl, const char *verb, bool view, int argc, char **argv) {
        Snapshot s = { .job = JOB_INIT(ctl, ""), .view = view };
        int r;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &s);
        if (r == 0)
                r = prepare(&s, argv[0], argc > 1 ? argv[1] : "");
        strv_clear(&s.labels);
        return r;
}

/** verb_snapshot_prepare() - see above. */
int verb_snapshot_prepare(Ctl *ctl, int argc, char **argv) {
        return prepare_verb(ctl, "snapshot prepare", false, argc, argv);
}

/** verb_snapshot_view() - see above. */
int verb_snapshot_view(Ctl *ctl, int argc, char **argv) {
        return prepare_verb(ctl, "snapshot view", true, argc, argv);
}

static int commit(Snapshot *s, const char *key, const char *name) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call get = {};
        Ctl *ctl = s->job.ctl;
        const char *path;
        int r;

        r = object_get(ctl, &get, "GetSnapshot", key, &path);
        if (r == 0)
                r = job_new(&s->job, path, BUS_SNAPSHOT, "Commit", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", name);
        if (r >= 0)
                r = append_options(s, m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = job_run(&s->job, m);
        if (r == 0 && ctl->json)
                return job_print(&s->job);
        if (r == 0)
                printf("%s\n", name);
        return r;
}

/** verb_snapshot_commit() - see above. */
int verb_snapshot_commit(Ctl *ctl, int argc, char **argv) {
        Snapshot s = { .job = JOB_INIT(ctl, _("the commit was cancelled, nothing of it is left")) };
        int r;

        r = options_parse(ctl, "snapshot commit", &argc, &argv, on_option, &s);
        if (r == 0)
                r = commit(&s, argv[0], argv[1]);
        job_clear(&s.job);
        strv_clear(&s.labels);
        return r;
}

static int remove_snapshot(Ctl *ctl, const char *key, _unused_ void *userdata) {
        _cleanup_call_ Call get = {}, delete = {};
        const char *path;
        int r;

        r = object_get(ctl, &get, "GetSnapshot", key, &path);
        if (r == 0)
                r = call_simple(ctl, &delete, path, BUS_SNAPSHOT, "Delete", NULL);
        if (r == 0)
                r = call_finish(ctl, &delete, key);
        if (r == 0)
                printf("%s\n", key);
        return r;
}

/** verb_snapshot_rm() - see above. */
int verb_snapshot_rm(Ctl *ctl, int argc, char **argv) {
        int r;

        r = options_parse(ctl, "snapshot rm", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, remove_snapshot, NULL) : r;
}
