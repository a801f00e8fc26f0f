/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl pull: has the manager fetch images from their registries, shows the progress on a terminal and prints their
 * names. Which registry a short name means is the manager's to know; what is ours is who we are there. No registry is
 * talked to from here.
 */

#include "ctl/pull.h"

#include "ctl/auth.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum {
        OPTION_PLATFORM = OPTION_FREE,
        OPTION_POLICY,
        OPTION_LIMIT,
        OPTION_LEASE,
        OPTION_ROOT_FS,
        OPTION_AUTH_FILE,
        OPTION_CREDS_STDIN
};

const Option pull_options[] = {
        { OPTION_PLATFORM, "platform", N_("OS/ARCH[/VARIANT]"), N_("Which of several to take, or all") },
        { OPTION_POLICY, "policy", N_("always|missing"), N_("Ask the registry always (the default), or when missing") },
        { OPTION_AUTH_FILE, "authfile", N_("FILE"), N_("Credentials, as podman and docker keep them") },
        { OPTION_CREDS_STDIN, "creds-stdin", NULL, N_("Read USER:PASSWORD from standard input") },
        { OPTION_LIMIT, "limit", N_("NAME=VALUE"), N_("Another limit than that of davit.conf(5), such as bytes=2g") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps what is pulled") },
        { OPTION_ROOT_FS, "root-filesystem", N_("KIND"), N_("auto, erofs, checkout, or none until it is needed") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

static int on_option(int key, const char *arg, void *userdata) {
        Pull *pull = userdata;

        switch (key) {
        case OPTION_PLATFORM:
                pull->platform = arg;
                return 0;
        case OPTION_POLICY:
                pull->policy = arg;
                return 0;
        case OPTION_AUTH_FILE:
                pull->auth_file = arg;
                return 0;
        case OPTION_CREDS_STDIN:
                pull->creds_stdin = true;
                return 0;
        case OPTION_LEASE:
                pull->lease = arg;
                return 0;
        case OPTION_ROOT_FS:
                pull->root_fs = arg;
                return 0;
        case OPTION_LIMIT:
                return strv_add(&pull->limits, arg) ? 0 : ctl_oom(pull->job.ctl);
        default:
                pull->job.quiet = true;
                return 0;
        }
}

static int append_options(const Pull *pull, Message *m, int auth_fd) {
        int r;

        r = message_open(m, 'a', "{sv}");
        if (r >= 0 && pull->policy)
                r = option_string(m, "Policy", pull->policy);
        if (r >= 0 && pull->platform)
                r = option_string(m, "Platform", pull->platform);
        if (r >= 0 && pull->lease)
                r = option_string(m, "Lease", pull->lease);
        if (r >= 0 && pull->root_fs)
                r = option_string(m, "RootFilesystem", pull->root_fs);
        if (r >= 0 && auth_fd >= 0)
                r = option_fd(m, "Authorization", auth_fd);
        if (r >= 0)
                r = limits_append(m, &pull->limits);
        return r < 0 ? r : message_close(m);
}

/* The first name is the one that was asked for. */
static int read_name(Message *m, void *userdata) {
        Pull *pull = userdata;
        const char *other;
        int r;

        r = message_enter(m, 'a', "s");
        if (r >= 0)
                r = message_read(m, "s", &pull->name);
        while (r > 0)
                r = message_read(m, "s", &other);
        return r < 0 ? r : message_exit(m);
}

static int read_result(Pull *pull) {
        const Member members[] = {
                { "Images", "as", NULL, read_name },
                { "Digest", "s", &pull->digest, NULL },
                { "Fetched", "t", &pull->fetched, NULL },
        };
        int r;

        r = result_read(pull->job.ctl, job_result(&pull->job), members, ELEMENTSOF(members), pull);
        return r == 0 && !pull->name ? bus_protocol_error(pull->job.ctl, -EBADMSG) : r;
}

static int find_credentials(const Pull *pull, Auth *auth, const char *image) {
        Ctl *ctl = pull->job.ctl;

        return pull->creds_stdin ? auth_from_stdin(ctl, auth, image) : auth_find(ctl, auth, pull->auth_file, image);
}

/* Whom the registry has refused. */
static void refused_note(const Pull *pull, const Auth *auth, const char *image) {
        _cleanup_free_ char *host = auth_host(image);

        if (!host || !call_failed(&pull->job.wait, "PermissionDenied"))
                return;
        if (auth->fd >= 0)
                ctl_note(_("the credentials for %s are those of %s"), host, auth->from);
        else if (auth->ignored)
                ctl_note(_("what 'docker-credential-%s' knows is not asked for; see 'davitctl pull --help'"),
                         auth->ignored);
        else
                ctl_note(_("no credentials for %s were found; log in with 'podman login %s', or name a file with "
                           "--authfile"),
                         host, host);
}

/** pull_image() - fetches one image; its name and digest are in @pull until the next. 0 or an exit status. */
int pull_image(Pull *pull, const char *image) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_auth_ Auth auth = AUTH_INIT;
        Job *job = &pull->job;
        int r;

        pull->name = pull->digest = NULL;
        pull->fetched = 0;
        r = find_credentials(pull, &auth, image);
        if (r == 0)
                r = job_new(job, BUS_PATH, BUS_MANAGER, "PullImage", &m);
        if (r != 0)
                return r;
        job->own_summary = true;
        r = message_append(m, "ss", job->ctl->ns, image);
        if (r >= 0)
                r = append_options(pull, m, auth.fd);
        if (r < 0)
                return bus_protocol_error(job->ctl, r);
        r = job_run(job, m);
        if (r == 0)
                return read_result(pull);
        refused_note(pull, &auth, image);
        return r;
}

/** pull_clear() - frees it. */
void pull_clear(Pull *pull) {
        job_clear(&pull->job);
        strv_clear(&pull->limits);
}

static int pull_and_print(Pull *pull, const char *image) {
        char size[TEXT_SIZE_MAX];
        int r;

        r = pull_image(pull, image);
        if (r != 0)
                return r;
        if (pull->job.ctl->json)
                return job_print(&pull->job);
        if (!pull->job.quiet && pull->fetched == 0 && pull->policy && streq(pull->policy, "missing"))
                ctl_note(_("%s is here already: %s"), pull->name, pull->digest ?: ""); /* the registry was not asked */
        else if (!pull->job.quiet && pull->fetched == 0)
                ctl_note(_("%s is up to date: %s"), pull->name, pull->digest ?: "");
        else if (!pull->job.quiet)
                ctl_note(_("%s: %s, %s fetched"), pull->name, pull->digest ?: "", text_size(pull->fetched, size));
        printf("%s\n", pull->name);
        (void)fflush(stdout);
        return 0;
}

/* What fails does not keep the others from being fetched; ctrl-c does. */
static int pull_each(Pull *pull, int argc, char **argv) {
        int r, status = 0;

        for (int i = 0; i < argc && !pull->job.asked; i++) {
                pull->job.file = argc > 1 ? argv[i] : NULL; /* the manager's sentence names it mostly */
                r = pull_and_print(pull, argv[i]);
                if (r != 0)
                        status = r;
        }
        return status;
}

/** verb_pull() - see above. */
int verb_pull(Ctl *ctl, int argc, char **argv) {
        _cleanup_pull_ Pull pull = PULL_INIT(ctl);
        int r;

        r = options_parse(ctl, "pull", &argc, &argv, on_option, &pull);
        if (r == 0)
                r = limits_check(ctl, &pull.limits);
        pull.job.one_line = true;
        if (r == 0 && pull.creds_stdin && pull.auth_file)
                r = ctl_error(ctl, _("give credentials once, with --creds-stdin or --authfile"));
        if (r == 0 && pull.creds_stdin && argc > 1)
                r = ctl_error(ctl, _("--creds-stdin is for one image; name them one by one"));
        return r == 0 ? pull_each(&pull, argc, argv) : r;
}
