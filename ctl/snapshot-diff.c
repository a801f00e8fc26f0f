/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl snapshot diff and apply: what one snapshot has that another has not, and the way back, a layer unpacked into
 * an active snapshot. The layer goes through a descriptor of ours and is written and read by the store.
 */

#include "ctl/diff.h"
#include "ctl/output.h"
#include "ctl/verbs.h"

enum { OPTION_DIGEST = OPTION_FREE + 10 };

const Option snapshot_apply_options[] = {
        { 'i', "input", N_("FILE"), N_("The layer, instead of the argument") },
        { OPTION_DIGEST, "digest", N_("DIGEST"), N_("What the layer must be") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Apply {
        Job job;
        const char *input, *digest;
} Apply;

/** verb_snapshot_diff() - see above. */
int verb_snapshot_diff(Ctl *ctl, int argc, char **argv) {
        Diff diff = { .job = JOB_INIT(ctl, _("cancelled; nothing was written")) };
        _cleanup_call_ Call get = {};
        const char *path;
        int r;

        r = options_parse(ctl, "snapshot diff", &argc, &argv, diff_option, &diff);
        if (r == 0) {
                diff.from = argc > 1 ? argv[0] : "";
                r = object_get(ctl, &get, "GetSnapshot", argv[argc - 1], &path);
        }
        if (r == 0)
                r = diff_snapshot(&diff, path);
        job_clear(&diff.job);
        return r;
}

static int on_option(int key, const char *arg, void *userdata) {
        Apply *apply = userdata;

        if (key == 'i')
                apply->input = arg;
        else if (key == OPTION_DIGEST)
                apply->digest = arg;
        else
                apply->job.quiet = true;
        return 0;
}

static int apply_layer(Apply *apply, const char *key, int fd) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call get = {};
        Ctl *ctl = apply->job.ctl;
        const char *path, *diff_id = "";
        const Member members[] = { { "DiffId", "s", &diff_id, NULL } };
        int r;

        apply->job.file = apply->input ?: "-";
        r = object_get(ctl, &get, "GetSnapshot", key, &path);
        if (r == 0)
                r = job_new(&apply->job, path, BUS_SNAPSHOT, "Apply", &m);
        if (r != 0)
                return r;
        r = message_append(m, "h", fd);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && apply->digest)
                r = option_string(m, "Digest", apply->digest);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = job_run(&apply->job, m);
        if (r == 0 && ctl->json)
                return job_print(&apply->job);
        if (r == 0)
                r = result_read(ctl, job_result(&apply->job), members, ELEMENTSOF(members), NULL);
        if (r == 0 && *diff_id)
                printf("%s\n", diff_id);
        return r;
}

/** verb_snapshot_apply() - see above. */
int verb_snapshot_apply(Ctl *ctl, int argc, char **argv) {
        Apply apply = { .job = JOB_INIT(ctl, _("cancelled; part of the layer may have been unpacked")) };
        _cleanup_close_ int fd = -1;
        int r;

        r = options_parse(ctl, "snapshot apply", &argc, &argv, on_option, &apply);
        if (r == 0 && argc > 1 && apply.input)
                r = ctl_error(ctl, _("name the layer once, as the argument or with -i"));
        if (r == 0 && argc > 1)
                apply.input = argv[1];
        if (r == 0)
                r = input_open(ctl, apply.input, &fd);
        if (r == 0)
                r = apply_layer(&apply, argv[0], fd);
        job_clear(&apply.job);
        return r;
}
