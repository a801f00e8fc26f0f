/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events that have been: from the files of the manager, which hold those of late, and from the journal, which holds the
 * rest. The journal is journalctl's to read; only what davitd itself has sent counts, and an entry that is there twice
 * is shown once, because numbers only rise.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ctl/event.h"
#include "ctl/text.h"

static int show_all(Ctl *ctl, EventFilter *filter, FILE *stream, uint64_t before) {
        _cleanup_event_ Event event = {};
        int r;

        while ((r = event_read(stream, &event)) > 0 && event.sequence < before) {
                if (event_wanted(&event, filter))
                        event_print(ctl, &event);
                if (event.sequence > filter->after)
                        filter->after = event.sequence;
        }
        return r < 0 ? ctl_oom(ctl) : 0;
}

/** events_of_file() - of a file that OpenEvents gave; fd stays the caller's. 0 or an exit status. */
int events_of_file(Ctl *ctl, EventFilter *filter, int fd, uint64_t before) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r;
        FILE *stream = copy >= 0 ? fdopen(copy, "r") : NULL;

        if (!stream) {
                (void)safe_close(copy);
                return ctl_error(ctl, _("cannot read the events: %s"), strerror(errno));
        }
        r = show_all(ctl, filter, stream, before);
        (void)fclose(stream);
        return r;
}

static bool arguments(const EventFilter *filter, Strv *argv) {
        bool ok = strv_add(argv, "journalctl") && strv_add(argv, "--no-pager") && strv_add(argv, "--quiet") &&
                  strv_add(argv, "--output=export") && strv_add(argv, "_SYSTEMD_UNIT=davitd.service");

        if (filter->since > 0)
                ok = ok && strv_take(argv, text_printf("--since=@%" PRIu64 ".%06" PRIu64, filter->since / USEC_PER_SEC,
                                                       filter->since % USEC_PER_SEC));
        if (filter->ns)
                ok = ok && strv_take(argv, text_printf("CONTAINER_NAMESPACE=%s", filter->ns));
        for (size_t i = 0; i < filter->ids.n && ok; i++)
                ok = strv_take(argv, text_printf("DAVIT_ID=%s", filter->ids.v[i]));
        for (const char *const *type = event_types(); *type && ok; type++) {
                bool wanted = filter->types.n == 0;

                for (size_t i = 0; i < filter->types.n; i++)
                        wanted = wanted || event_type_matches(*type, filter->types.v[i]);
                if (wanted)
                        ok = strv_take(argv, text_printf("DAVIT_EVENT=%s", *type));
        }
        return ok;
}

static pid_t spawn(char *const *argv, int out) {
        pid_t parent = getpid(), pid;

        (void)fflush(stdout);
        pid = fork();
        if (pid != 0)
                return pid < 0 ? -errno : pid;
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent || dup2(out, STDOUT_FILENO) < 0)
                _exit(EXIT_FAILURE);
        (void)execvp(argv[0], argv);
        _exit(EXIT_NOT_FOUND);
}

static int reap(Ctl *ctl, pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return EXIT_FAILURE;
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND)
                return ctl_error(ctl, _("cannot run journalctl: %s"), strerror(ENOENT));
        return 0; /* it may have been told to stop half-way */
}

/** events_of_journal() - see event.h. 0 or an exit status. */
int events_of_journal(Ctl *ctl, EventFilter *filter, uint64_t before) {
        _cleanup_strv_ Strv argv = {};
        int fds[2], r, s;
        FILE *stream;
        pid_t pid;

        if (!arguments(filter, &argv))
                return ctl_oom(ctl);
        if (pipe2(fds, O_CLOEXEC) < 0)
                return ctl_error(ctl, _("cannot make a pipe: %s"), strerror(errno));
        pid = spawn(argv.v, fds[1]);
        (void)close(fds[1]);
        stream = pid > 0 ? fdopen(fds[0], "r") : NULL;
        if (!stream) {
                (void)close(fds[0]);
                return ctl_error(ctl, _("cannot run journalctl: %s"), strerror(pid < 0 ? -pid : errno));
        }
        r = show_all(ctl, filter, stream, before);
        (void)fclose(stream); /* ends journalctl where it has more to say */
        s = reap(ctl, pid);
        return r != 0 ? r : s;
}
