/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl content put: writes a file into the store and prints its digest. The bytes go into a file of the manager's
 * that is kept until it is committed, so the same command goes on where an earlier one was interrupted. The digest is
 * counted by the store; davitctl names what it is expected to be.
 */

#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "ctl/copy.h"
#include "ctl/job.h"
#include "ctl/output.h"
#include "ctl/verbs.h"

#define LABEL_ROOT "davit.gc.root"

enum { OPTION_REF = OPTION_FREE, OPTION_DIGEST, OPTION_MEDIA_TYPE, OPTION_LEASE, OPTION_NO_ROOT };

const Option content_put_options[] = {
        { 'i', "input", N_("FILE"), N_("The file, instead of the argument") },
        { OPTION_DIGEST, "digest", N_("DIGEST"), N_("What it must be") },
        { OPTION_MEDIA_TYPE, "media-type", N_("TYPE"), N_("Its media type") },
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        { OPTION_LEASE, "lease", N_("LEASE"), N_("A lease that keeps it, instead of the label davit.gc.root") },
        { OPTION_NO_ROOT, "no-root", NULL, N_("Do not set the label davit.gc.root") },
        { OPTION_REF, "ref", N_("NAME"), N_("Name to go on by, where standard input is written") },
        { 'q', "quiet", NULL, N_("Show no progress") },
        {},
};

typedef struct Put {
        Job job;
        const char *input, *digest, *media_type, *lease, *given_ref;
        bool no_root, resumable;
        Strv labels;
        char *ref;
        Copy copy;
} Put;

static int on_option(int key, const char *arg, void *userdata) {
        Put *put = userdata;

        switch (key) {
        case 'i':
                put->input = arg;
                return 0;
        case OPTION_DIGEST:
                put->digest = arg;
                return 0;
        case OPTION_MEDIA_TYPE:
                put->media_type = arg;
                return 0;
        case 'l':
                return strv_add(&put->labels, arg) ? 0 : ctl_oom(put->job.ctl);
        case OPTION_LEASE:
                put->lease = arg;
                return 0;
        case OPTION_NO_ROOT:
                put->no_root = true;
                return 0;
        case OPTION_REF:
                put->given_ref = arg;
                return 0;
        default:
                put->job.quiet = true;
                return 0;
        }
}

/* Without it the next collection takes what was put. */
static bool add_root_label(Put *put) {
        char text[64];
        time_t now = time(NULL);
        struct tm tm;

        if (put->no_root || put->lease)
                return true;
        for (size_t i = 0; i < put->labels.n; i++)
                if (strncmp(put->labels.v[i], "davit.gc.", 9) == 0)
                        return true;
        return strftime(text, sizeof(text), LABEL_ROOT "=%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm)) > 0 &&
               strv_add(&put->labels, text);
}

/* The name the same command will find again: of a file what it is, of a stream what the user says. */
static int name_writer(Put *put) {
        Ctl *ctl = put->job.ctl;
        struct stat st;
        off_t at;

        if (fstat(put->copy.from, &st) < 0)
                return ctl_error(ctl, _("cannot open '%s': %s"), put->input ?: "-", strerror(errno));
        if (S_ISDIR(st.st_mode))
                return ctl_error(ctl, _("'%s' is a directory; name a file"), put->input);
        put->resumable = put->given_ref || S_ISREG(st.st_mode);
        /* somebody may have read from standard input before: what is left of it is what is put */
        at = S_ISREG(st.st_mode) ? lseek(put->copy.from, 0, SEEK_CUR) : 0;
        if (at < 0)
                return ctl_error(ctl, _("cannot open '%s': %s"), put->input ?: "-", strerror(errno));
        if (S_ISREG(st.st_mode))
                put->copy.total = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
        if (put->given_ref)
                put->ref = strdup(put->given_ref);
        else if (S_ISREG(st.st_mode))
                put->ref = text_printf("file-%jx-%jx-%jx-%jx-%jx.%lx", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                                       (uintmax_t)st.st_size, (uintmax_t)at, (uintmax_t)st.st_mtim.tv_sec,
                                       (unsigned long)st.st_mtim.tv_nsec);
        else
                put->ref = text_printf("stream-%d-%jx", (int)getpid(), (uintmax_t)time(NULL));
        return put->ref ? 0 : ctl_oom(ctl);
}

static int append_options(const Put *put, Message *m, uint64_t size, bool commit) {
        int r;

        r = message_append(m, "ss", put->job.ctl->ns, put->ref);
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        if (r >= 0 && size > 0)
                r = option_u64(m, "Size", size);
        if (r >= 0 && put->digest)
                r = option_string(m, "Digest", put->digest);
        /* said once, so that another run may say it in another way */
        if (r >= 0 && commit && put->media_type)
                r = option_string(m, "MediaType", put->media_type);
        if (r >= 0 && commit)
                r = option_labels(m, "Labels", &put->labels);
        if (r >= 0 && commit && put->lease)
                r = option_string(m, "Lease", put->lease);
        return r < 0 ? r : message_close(m);
}

static void abort_writer(Put *put) {
        _cleanup_call_ Call call = {};

        if (call_simple(put->job.ctl, &call, BUS_PATH, BUS_MANAGER, "AbortContent", "ss", put->job.ctl->ns, put->ref) ==
            0)
                (void)call_wait(put->job.ctl, &call);
}

/* Says what became of the bytes that were written. */
static int interrupted(Put *put, int error) {
        Ctl *ctl = put->job.ctl;

        if (error == -EINTR && !put->resumable) {
                abort_writer(put);
                return ctl_error(ctl, _("cancelled; nothing was written")), 130;
        }
        if (error == -EINTR)
                return ctl_error(ctl,
                                 _("interrupted; the same command goes on, 'davitctl content abort %s' does without"),
                                 put->ref),
                       130;
        if (error == -ENODATA)
                return ctl_error(ctl,
                                 _("'%s' is shorter than what was written before; 'davitctl content abort %s' "
                                   "forgets that"),
                                 put->input ?: "-", put->ref);
        if (!put->resumable)
                abort_writer(put);
        return ctl_error(ctl, _("cannot copy '%s': %s"), put->input ?: "-", strerror(-error));
}

/* Brings the bytes to the manager's file, from where it ends. */
static int write_bytes(Put *put, Call *call) {
        _cleanup_message_ Message *m = NULL;
        Ctl *ctl = put->job.ctl;
        uint64_t offset;
        int r;

        r = job_new(&put->job, BUS_PATH, BUS_MANAGER, "WriteContent", &m);
        if (r != 0)
                return r;
        r = append_options(put, m, put->copy.total, false);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, call, m);
        if (r == 0)
                r = call_finish(ctl, call, put->input);
        if (r != 0)
                return r;
        r = message_read(call->reply, "ht", &put->copy.to, &offset);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (put->copy.total > 0 && offset > put->copy.total)
                return interrupted(put, -ENODATA);
        put->copy.signal_fd = put->job.signal_fd;
        progress_begin(&put->copy.progress, put->job.quiet);
        r = copy_skip(&put->copy, offset);
        if (r >= 0)
                r = copy_run(&put->copy);
        progress_end(&put->copy.progress, r >= 0);
        return r < 0 ? interrupted(put, r) : 0;
}

/* Whether an error lies in what was asked for. */
static bool is_refused(const Call *call) {
        return call_failed(call, "InvalidArgument") || call_failed(call, "NotFound") ||
               call_failed(call, "FailedPrecondition");
}

static int commit(Put *put) {
        _cleanup_message_ Message *m = NULL;
        const char *digest = "";
        const Member members[] = { { "Digest", "s", &digest, NULL } };
        Ctl *ctl = put->job.ctl;
        int r;

        r = job_new(&put->job, BUS_PATH, BUS_MANAGER, "CommitContent", &m);
        if (r != 0)
                return r;
        r = append_options(put, m, put->copy.done, true);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        put->job.file = put->input ?: "-";
        r = job_run(&put->job, m);
        if (r != 0) {
                /* the manager keeps the writer; it is of no use where the same command cannot go on or fails again */
                if (!put->resumable || is_refused(&put->job.start) || is_refused(&put->job.wait))
                        abort_writer(put);
                return r;
        }
        if (ctl->json)
                return job_print(&put->job);
        r = result_read(ctl, job_result(&put->job), members, ELEMENTSOF(members), NULL);
        if (r == 0)
                printf("%s\n", digest);
        return r;
}

static int put_file(Put *put) {
        _cleanup_call_ Call call = {};
        int r;

        r = name_writer(put);
        if (r == 0 && !add_root_label(put))
                r = ctl_oom(put->job.ctl);
        if (r == 0)
                r = write_bytes(put, &call);
        return r == 0 ? commit(put) : r;
}

/** verb_content_put() - see above. */
int verb_content_put(Ctl *ctl, int argc, char **argv) {
        Put put = { .job = JOB_INIT(ctl, _("cancelled; the same command commits what was written")),
                    .copy = { .from = -1, .to = -1, .signal_fd = -1, .left = UINT64_MAX } };
        int r;

        r = options_parse(ctl, "content put", &argc, &argv, on_option, &put);
        if (r == 0 && argc > 0 && put.input)
                r = ctl_error(ctl, _("name the file once, as the argument or with -i"));
        if (r == 0 && argc > 0)
                put.input = argv[0];
        if (r == 0)
                r = input_open(ctl, put.input, &put.copy.from);
        if (r == 0)
                r = put_file(&put);
        job_clear(&put.job);
        strv_clear(&put.labels);
        put.copy.from = safe_close(put.copy.from);
        free(put.ref);
        return r;
}
