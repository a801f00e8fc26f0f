/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl logs -f: the journal of a container until the container has ended and all it wrote has been shown.
 * journalctl --follow knows no end and may be stopped in the middle of a line, so nothing it prints is shown: it only
 * tells that there is more. What is shown comes from journalctl runs that end by themselves, each of which begins where
 * the one before it stopped, by a cursor file in a directory of our own. This reads no journal itself.
 */

#include "ctl/follow.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "ctl/bus.h"
#include "ctl/text.h"
#include "shared/fd.h"

typedef struct Follow {
        Ctl *ctl;
        const Strv *command;
        const char *lines; /* of the first run */
        char *cursor;      /* --cursor-file=... */
        Call wait;
        pid_t child; /* journalctl --follow */
        int pipe_fd, signal_fd;
} Follow;

/* Starts journalctl; out: its stdout, or -1 for ours. Negative errno. */
static pid_t spawn(char *const *argv, int out) {
        pid_t parent = getpid(), pid;
        sigset_t none;

        (void)fflush(stdout);
        pid = fork();
        if (pid != 0)
                return pid < 0 ? -errno : pid;
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent || (out >= 0 && dup2(out, STDOUT_FILENO) < 0))
                _exit(EXIT_FAILURE);
        (void)execvp(argv[0], argv);
        _exit(EXIT_NOT_FOUND);
}

/* The exit status of a child. */
static int reap(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return EXIT_FAILURE;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool copy_command(const Follow *f, Strv *argv) {
        for (size_t i = 0; i < f->command->n; i++)
                if (!strv_add(argv, f->command->v[i]))
                        return false;
        return true;
}

/* Runs journalctl with the cursor file: its exit status. Where there is no line it fails without a word, for there is
 * no cursor to keep; without that file it says whether anything is wrong. */
static int run(Follow *f, char *const *argv, int out) {
        _cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        _cleanup_strv_ Strv plain = {};
        pid_t pid = spawn(argv, out);
        int r;

        r = pid < 0 ? EXIT_NOT_FOUND : reap(pid);
        if (r == EXIT_FAILURE && access(strchr(f->cursor, '/'), F_OK) < 0) {
                if (!copy_command(f, &plain) || !strv_add(&plain, "--lines=1"))
                        return ctl_oom(f->ctl);
                pid = spawn(plain.v, null);
                r = pid < 0 ? EXIT_NOT_FOUND : reap(pid);
        }
        return r == EXIT_NOT_FOUND ? ctl_error(f->ctl, _("cannot run journalctl: %s"), strerror(ENOENT)) : r;
}

/* Puts the cursor file on the n-th line from the end, or the first where there are fewer, and reads it: --lines with
 * --since means the first lines to some versions, unless asked for in reverse. 0 or an exit status. */
static int go_back(Follow *f, uint64_t n, char **ret) {
        _cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        _cleanup_strv_ Strv argv = {};
        int r;

        (void)unlink(strchr(f->cursor, '/'));
        if (!copy_command(f, &argv) || !strv_add(&argv, "--reverse") || !strv_add(&argv, f->cursor) ||
            !strv_take(&argv, text_printf("--lines=%" PRIu64, n)))
                return ctl_oom(f->ctl);
        r = run(f, argv.v, null);
        if (r == 0 && file_read_at(AT_FDCWD, strchr(f->cursor, '/'), 65536, ret, NULL) < 0)
                *ret = NULL; /* there is no line yet */
        return r;
}

/* Lets the first run show the last lines: what follows the line before them, where there is one. */
static int begin_at_tail(Follow *f) {
        _cleanup_free_ char *first = NULL, *before = NULL;
        uint64_t n;
        int r;

        if (!parse_unsigned(f->lines, UINT32_MAX, &n))
                return 0;
        r = n > 0 ? go_back(f, n, &first) : 0;
        if (r == 0)
                r = go_back(f, n + 1, &before);
        if (r == 0 && first && before && streq(first, before))
                (void)unlink(strchr(f->cursor, '/'));
        return r;
}

/* Shows what has come since the last time. 0 or an exit status. */
static int show(Follow *f) {
        _cleanup_strv_ Strv argv = {};

        if (!copy_command(f, &argv) || !strv_add(&argv, f->cursor) || !strv_add(&argv, "--lines=all"))
                return ctl_oom(f->ctl);
        return run(f, argv.v, -1);
}

static int watch(Follow *f) {
        _cleanup_strv_ Strv argv = {};
        int fds[2];

        if (!copy_command(f, &argv) || !strv_add(&argv, "--follow") || !strv_add(&argv, "--lines=all"))
                return ctl_oom(f->ctl);
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return ctl_error(f->ctl, _("cannot make a pipe: %s"), strerror(errno));
        f->pipe_fd = fds[0];
        (void)fcntl(fds[1], F_SETFL, 0);
        f->child = spawn(argv.v, fds[1]);
        (void)close(fds[1]);
        return f->child < 0 ? ctl_error(f->ctl, _("cannot run journalctl: %s"), strerror(-f->child)) : 0;
}

static int send_wait(Follow *f, const char *id) {
        _cleanup_free_ char *path = path_of(f->ctl->ns, "task", id);

        call_clear(&f->wait);
        return path ? call_simple(f->ctl, &f->wait, path, BUS_PROCESS, "Wait", NULL) : ctl_oom(f->ctl);
}

/* Empties the pipe and shows what it told of. 0, an exit status, -1 where the child has ended. */
static int more(Follow *f) {
        char buffer[65536];
        ssize_t n, all = 0;

        while ((n = read(f->pipe_fd, buffer, sizeof(buffer))) > 0 && all < (ssize_t)sizeof(buffer) * 16)
                all += n;
        if (all > 0)
                return show(f);
        return n == 0 ? -1 : 0;
}

/* Until the task has ended: 0; an exit status. */
static int until_end(Follow *f, const char *id) {
        struct signalfd_siginfo info;
        int r = 0;

        while (r == 0) {
                struct pollfd fds[3] = { { .fd = f->signal_fd, .events = POLLIN },
                                         { .fd = f->pipe_fd, .events = POLLIN } };

                r = bus_step(f->ctl);
                if (f->wait.done && error_is_bus(call_error(&f->wait), "NoReply")) {
                        r = send_wait(f, id); /* the next manager knows it as well */
                        continue;
                }
                if (f->wait.done)
                        return 0;
                if (r < 0)
                        return bus_protocol_error(f->ctl, r);
                if (r > 0) {
                        r = 0;
                        continue;
                }
                fds[2].fd = bus_fd(f->ctl);
                fds[2].events = POLLIN;
                if (poll(fds, ELEMENTSOF(fds), -1) < 0)
                        continue;
                if (fds[0].revents && read(f->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
                        return 128 + (int)info.ssi_signo;
                if (fds[1].revents)
                        r = more(f);
        }
        return r < 0 ? EXIT_FAILURE : r;
}

static int catch_signals(Follow *f) {
        static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t mask;

        (void)sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                (void)sigaddset(&mask, numbers[i]);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        f->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return f->signal_fd < 0 ? ctl_error(f->ctl, _("cannot catch signals: %s"), strerror(errno)) : 0;
}

/* Shows the rest: journald is asked to take in what is still on its way. */
static int show_rest(Follow *f) {
        char *sync[] = { (char[]){ "journalctl" }, (char[]){ "--sync" }, NULL };
        pid_t pid = spawn(sync, -1);

        if (pid > 0)
                (void)reap(pid);
        return show(f);
}

static int follow(Follow *f, const char *id) {
        int r;

        r = catch_signals(f);
        if (r == 0 && id)
                r = send_wait(f, id);
        if (r == 0)
                r = begin_at_tail(f);
        if (r == 0)
                r = show(f);
        if (!id)
                return r;
        if (r == 0)
                r = watch(f);
        if (r == 0)
                r = until_end(f, id);
        if (f->child > 0) {
                (void)kill(f->child, SIGTERM);
                (void)reap(f->child);
        }
        return r == 0 ? show_rest(f) : r;
}

/**
 * logs_follow() - shows a container's journal until the container has ended
 * @id: the container's, or NULL: only what there is now
 * @command: journalctl with what selects the lines
 * @lines: how many to begin with, or "all"
 *
 * Returns an exit status.
 */
int logs_follow(Ctl *ctl, const char *id, const Strv *command, const char *lines) {
        Follow f = { .ctl = ctl, .command = command, .lines = lines, .pipe_fd = -1, .signal_fd = -1 };
        char directory[] = "/tmp/davitctl-XXXXXX";
        int r;

        if (!mkdtemp(directory))
                return ctl_error(ctl, _("cannot make a directory in /tmp: %s"), strerror(errno));
        f.cursor = text_printf("--cursor-file=%s/cursor", directory);
        r = f.cursor ? follow(&f, id) : ctl_oom(ctl);
        if (f.cursor)
                (void)unlink(strchr(f.cursor, '/'));
        (void)rmdir(directory);
        free(f.cursor);
        call_clear(&f.wait);
        f.pipe_fd = safe_close(f.pipe_fd);
        f.signal_fd = safe_close(f.signal_fd);
        return r;
}
