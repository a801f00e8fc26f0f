/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl commit: makes an image of what a container has changed. The container's processes are frozen while its files
 * are read, unless that is not wanted. What is done with the changes to the image's configuration is the manager's to
 * know; nothing of the container itself changes.
 */

#include "ctl/job.h"
#include "ctl/verbs.h"

enum { OPTION_NO_PAUSE = OPTION_FREE };

const Option commit_options[] = {
        { 'a', "author", N_("NAME"), N_("Who made it") },
        { 'm', "message", N_("TEXT"), N_("What was done, for the image's history") },
        { 'c', "change", N_("INSTRUCTION"), N_("Change the configuration, such as 'CMD [\"sh\"]' or 'ENV A=b'") },
        { OPTION_NO_PAUSE, "no-pause", NULL, N_("Do not freeze the container while it is read") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Commit {
        Job job;
        const char *author, *message;
        Strv changes;
        bool no_pause;
} Commit;

static int on_option(int key, const char *arg, void *userdata) {
        Commit *commit = userdata;

        switch (key) {
        case 'a':
                commit->author = arg;
                return 0;
        case 'm':
                commit->message = arg;
                return 0;
        case 'c':
                return strv_add(&commit->changes, arg) ? 0 : ctl_oom(commit->job.ctl);
        case OPTION_NO_PAUSE:
                commit->no_pause = true;
                return 0;
        default:
                commit->job.quiet = true;
                return 0;
        }
}

static int append_options(const Commit *commit, Message *m) {
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && commit->author)
                r = option_string(m, "Author", commit->author);
        if (r >= 0 && commit->message)
                r = option_string(m, "Message", commit->message);
        if (r >= 0 && commit->changes.n > 0)
                r = option_strv(m, "Changes", commit->changes.v);
        if (r >= 0 && commit->no_pause)
                r = option_bool(m, "Pause", false);
        return r < 0 ? r : message_close(m);
}

static int commit_container(Commit *commit, const char *container, const char *image) {
        _cleanup_free_ char *id = NULL, *path = NULL;
        _cleanup_message_ Message *m = NULL;
        const char *name = image;
        const Member members[] = { { "Image", "s", &name, NULL } };
        Ctl *ctl = commit->job.ctl;
        int r;

        r = container_object(ctl, container, "container", &id, &path);
        if (r == 0)
                r = job_new(&commit->job, path, BUS_CONTAINER, "Commit", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", image);
        if (r >= 0)
                r = append_options(commit, m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = job_run(&commit->job, m);
        if (r == 0 && ctl->json)
                return job_print(&commit->job);
        if (r == 0)
                r = result_read(ctl, job_result(&commit->job), members, ELEMENTSOF(members), NULL);
        if (r == 0)
                printf("%s\n", name);
        return r;
}

/** verb_commit() - see above. */
int verb_commit(Ctl *ctl, int argc, char **argv) {
        Commit commit = { .job = JOB_INIT(ctl, _("the commit was cancelled, nothing of it is left")) };
        int r;

        r = options_parse(ctl, "commit", &argc, &argv, on_option, &commit);
        if (r == 0)
                r = commit_container(&commit, argv[0], argv[1]);
        job_clear(&commit.job);
        strv_clear(&commit.changes);
        return r;
}
