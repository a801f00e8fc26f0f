/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A job of the manager: the call that begins it, its progress, its result. Ctrl-C cancels the job and waits until it
 * has cleaned up; a second one does not wait. Errors are printed here, what a result means is the verb's to know. No
 * job is ever left running by a davitctl that still can ask for its end.
 */

#include "ctl/job.h"

#include <poll.h>
#include <sys/signalfd.h>

#include "ctl/json.h"

/* What ends a job; not what whoever started us wants ignored, as nohup does. */
static void signals(sigset_t *ret) {
        static const int ending[] = { SIGINT, SIGTERM, SIGHUP };

        (void)sigemptyset(ret);
        for (size_t i = 0; i < ELEMENTSOF(ending); i++) {
                struct sigaction action;

                if (sigaction(ending[i], NULL, &action) >= 0 && action.sa_handler != SIG_IGN)
                        (void)sigaddset(ret, ending[i]);
        }
}

static int catch_signals(Job *job) {
        sigset_t mask;

        if (job->signal_fd >= 0)
                return 0;
        signals(&mask);
        (void)sigprocmask(SIG_BLOCK, &mask, &job->before);
        job->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return job->signal_fd < 0 ? ctl_error(job->ctl, _("cannot catch signals: %s"), strerror(errno)) : 0;
}

static void on_properties(Message *m, void *userdata) {
        progress_signal(&((Job *)userdata)->progress, m);
}

/** job_new() - the call that begins a job; from here on signals end the job first. 0 or an exit status. */
int job_new(Job *job, const char *path, const char *interface, const char *member, Message **ret) {
        int r = catch_signals(job);

        return r == 0 ? call_new(job->ctl, path, interface, member, ret) : r;
}

static int handle_signal(Job *job, const char *path) {
        struct signalfd_siginfo info;

        if (read(job->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
                return 0;
        if (job->asked)
                return 128 + (int)info.ssi_signo;
        job->asked = true;
        return call_simple(job->ctl, &job->cancel, path, BUS_JOB, "Cancel", NULL);
}

static int wait_job(Job *job, const char *path) {
        int r = 0;

        while (!job->wait.done && r == 0) {
                struct pollfd fds[2] = { { .fd = job->signal_fd, .events = POLLIN } };
                int n = bus_step(job->ctl);

                if (n < 0 && !job->wait.done)
                        return bus_protocol_error(job->ctl, n);
                if (n != 0)
                        continue;
                fds[1].fd = bus_fd(job->ctl);
                fds[1].events = POLLIN;
                if (poll(fds, ELEMENTSOF(fds), -1) > 0 && fds[0].revents)
                        r = handle_signal(job, path);
        }
        return r;
}

static int report_job(Job *job, const Call *call) {
        const BusError *error = call_error(call);

        if (job->file && strncmp(error->name, BUS_ERROR, strlen(BUS_ERROR)) == 0 && error->message && *error->message)
                return ctl_error(job->ctl, "%s: %s", job->file, error->message);
        return call_report(job->ctl, call, job->file);
}

/* Sends the call; the match goes first, so that no step is missed. */
static int begin(Job *job, Message *m, const char **ret_path) {
        Ctl *ctl = job->ctl;
        int r;

        call_clear(&job->start);
        call_clear(&job->wait);
        call_clear(&job->cancel);
        job->progress = (Progress){};
        progress_begin(&job->progress, job->quiet);
        if (job->progress.shown)
                (void)bus_match(ctl,
                                "type='signal',sender='" BUS_NAME "',interface='" DBUS_PROPERTIES
                                "',member='PropertiesChanged',arg0='" BUS_JOB "'",
                                on_properties, job);
        r = call_send(ctl, &job->start, m);
        if (r == 0)
                r = call_wait(ctl, &job->start);
        if (r != 0)
                return r;
        if (call_error(&job->start))
                return report_job(job, &job->start);
        r = message_read(job->start.reply, "o", ret_path);
        return r <= 0 ? bus_protocol_error(ctl, r < 0 ? r : -EBADMSG) : 0;
}

/* Until the job has ended, in whichever way; 0, or an exit status where the call itself has failed. */
static int run_once(Job *job, Message *m) {
        const char *path = NULL;
        int r;

        r = begin(job, m, &path);
        if (r == 0) {
                job->progress.job = path;
                r = call_simple(job->ctl, &job->wait, path, BUS_JOB, "Wait", NULL);
        }
        if (r == 0)
                r = wait_job(job, path);
        job->ctl->on_signal = NULL;
        return r;
}

/* A job ends with its manager, and the next one knows nothing of it. */
static bool cut_off(const Job *job) {
        const BusError *error = call_error(&job->wait);

        return !job->asked && (error_is_bus(error, "NoReply") || error_no_object(error));
}

/**
 * job_run() - sends the call that begins the job and waits until it has ended.
 * @m: the call, whose answer begins with the object path of the job.
 *
 * Returns 0 where it is done, or an exit status after an error has been printed: 130 where it was cancelled.
 */
int job_run(Job *job, Message *m) {
        int r;

        r = catch_signals(job);
        if (r == 0)
                r = run_once(job, m);
        for (int i = 0; i < ASK_AGAIN_MAX && r == 0 && call_changes_nothing(m) && cut_off(job); i++) {
                progress_end(&job->progress, false);
                r = run_once(job, m);
        }
        progress_end(&job->progress, r == 0 && !call_error(&job->wait) && !job->own_summary);
        if (r != 0)
                return r;
        if (call_error(&job->wait) && job->asked)
                return ctl_error(job->ctl, "%s", job->cancelled), 130;
        return call_error(&job->wait) ? report_job(job, &job->wait) : 0;
}

/** job_result() - the dictionary of a job that is done, from its beginning. */
Message *job_result(Job *job) {
        message_rewind(job->wait.reply);
        return job->wait.reply;
}

static int print_member(Json *j, Message *m, const Rows *rows, size_t n) {
        const char *key;
        int r;

        r = message_read(m, "s", &key);
        if (r < 0)
                return r;
        json_key(j, key);
        for (size_t i = 0; i < n; i++) {
                if (!streq(rows[i].key, key))
                        continue;
                r = message_enter(m, 'v', NULL);
                if (r >= 0)
                        r = json_rows(j, m, rows[i].names);
                return r < 0 ? r : message_exit(m);
        }
        return json_value(j, m);
}

/** job_print_rows() - prints the result as JSON, the structures in these members as objects. 0 or an exit status. */
int job_print_rows(Job *job, const Rows *rows, size_t n) {
        Json j = { .one_line = job->one_line };
        Message *m = job_result(job);
        int r;

        json_open(&j, '{');
        r = message_enter(m, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(m, 'e', "sv")) > 0) {
                r = print_member(&j, m, rows, n);
                if (r >= 0)
                        r = message_exit(m);
        }
        json_close(&j, '}');
        json_end(&j);
        (void)fflush(stdout);
        return r < 0 ? bus_protocol_error(job->ctl, r) : 0;
}

/** job_print() - prints the result as JSON. 0 or an exit status. */
int job_print(Job *job) {
        return job_print_rows(job, NULL, 0);
}

/** job_clear() - frees it; signals do again what they did before. */
void job_clear(Job *job) {
        call_clear(&job->start);
        call_clear(&job->wait);
        call_clear(&job->cancel);
        if (job->signal_fd < 0)
                return;
        job->signal_fd = safe_close(job->signal_fd);
        (void)sigprocmask(SIG_SETMASK, &job->before, NULL);
}

static int read_member(Message *m, const Member *member, void *userdata) {
        int r;

        if (!member->read)
                return message_read(m, "v", member->type, member->ret);
        r = message_enter(m, 'v', member->type);
        if (r > 0)
                r = member->read(m, userdata);
        return r < 0 ? r : message_exit(m);
}

/** result_read() - reads members of an a{sv}; unknown ones are left out. 0 or an exit status. */
int result_read(Ctl *ctl, Message *m, const Member *members, size_t n, void *userdata) {
        const char *key;
        int r;

        r = message_enter(m, 'a', "{sv}");
        while (r >= 0 && (r = message_enter(m, 'e', "sv")) > 0) {
                size_t i = 0;

                r = message_read(m, "s", &key);
                if (r < 0)
                        break;
                while (i < n && !streq(members[i].key, key))
                        i++;
                r = i < n ? read_member(m, &members[i], userdata) : message_skip(m, "v");
                if (r >= 0)
                        r = message_exit(m);
        }
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}
