/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The time a program of ours runs: davitctl stands in for it. Signals sent to davitctl go to the program, the window's
 * size follows, relays copy where they must, and the program's exit status becomes davitctl's. The end is told by the
 * pipe the manager handed over; where that breaks because the manager went away, a new one is asked for, since the
 * container goes on without the manager.
 */

#include "ctl/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

#include "ctl/terminal.h"

#define DRAIN_QUIET_MS 100 /* how long a terminal some other process still holds must be quiet after the end */
#define WAIT_ATTEMPTS 5

/** session_open() - from here on signals are caught. 0 or an exit status. */
int session_open(Session *s) {
        static const int forwarded[] = {
                SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT
        };
        sigset_t mask;

        (void)sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(forwarded); i++)
                (void)sigaddset(&mask, forwarded[i]);
        for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
                (void)sigaddset(&mask, n);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (s->signal_fd < 0)
                return ctl_error(s->ctl, _("cannot catch signals: %s"), strerror(errno));
        return 0;
}

/* Sends a call nobody waits for: the program may end at the same moment. */
static void session_send(Session *s, const char *member, const char *types, ...) {
        _cleanup_message_ Message *m = message_new(s->path, BUS_PROCESS, member);
        va_list ap;

        if (!m)
                return;
        m->destination = BUS_NAME;
        va_start(ap, types);
        (void)message_appendv(m, types, ap);
        va_end(ap);
        (void)call_post(s->ctl, m);
}

static void send_size(Session *s) {
        unsigned columns, rows;

        if (s->terminal && terminal_size(&columns, &rows))
                session_send(s, "Resize", "uu", (uint32_t)columns, (uint32_t)rows);
}

static void send_signal(Session *s, int number) {
        char text[12];

        (void)snprintf(text, sizeof(text), "%d", number);
        session_send(s, "Kill", "s", text);
}

static int next_signal(Session *s) {
        struct signalfd_siginfo info;

        return read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

/* Whether a signal ends us, who have only come to watch. */
static bool leaves(Session *s, int number) {
        uint64_t before = s->last_signal;
        struct timespec ts;

        if (s->leave_on_signal)
                return true;
        if (!s->leave_on_second || (number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT))
                return false;
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        s->last_signal = (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
        return before > 0 && s->last_signal - before <= USEC_PER_SEC;
}

static void handle_signals(Session *s) {
        int number;

        while ((number = next_signal(s)) > 0) {
                if (number == SIGCONT && s->terminal && s->interactive)
                        (void)terminal_raw(); /* the shell had it while we were stopped */
                if (number == SIGCONT || number == SIGWINCH)
                        send_size(s);
                else if (leaves(s, number))
                        s->left_by = number;
                else
                        send_signal(s, number);
        }
}

/* A signal before the program runs is kept for it; the second one ends davitctl. */
static int early_signals(Session *s) {
        int number;

        while ((number = next_signal(s)) > 0) {
                if (number == SIGWINCH || number == SIGCONT)
                        continue;
                if (s->pending_signal > 0 && (number == SIGINT || number == SIGTERM || number == SIGHUP)) {
                        (void)ctl_error(
                                s->ctl,
                                _("interrupted before the manager answered; see 'davitctl ps -a' for what there is"));
                        return 128 + number;
                }
                s->pending_signal = number;
        }
        return 0;
}

/** session_call_wait() - call_wait() that heeds signals. 0 or an exit status. */
int session_call_wait(Session *s, Call *call) {
        while (!call->done) {
                struct pollfd fds[2] = { { .fd = s->signal_fd, .events = POLLIN } };
                int r = bus_step(s->ctl);

                if (r < 0 && !call->done)
                        return bus_protocol_error(s->ctl, r);
                if (r != 0)
                        continue;
                fds[1].fd = bus_fd(s->ctl);
                fds[1].events = POLLIN;
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return bus_protocol_error(s->ctl, -errno);
                r = fds[0].revents ? early_signals(s) : 0;
                if (r != 0)
                        return r;
        }
        return 0;
}

static int take_exit_fd(Session *s, Message *reply) {
        int fd, r;

        r = message_read(reply, "h", &fd);
        if (r < 0)
                return bus_protocol_error(s->ctl, r);
        s->exit_fd = safe_close(s->exit_fd);
        s->exit_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return s->exit_fd < 0 ? bus_protocol_error(s->ctl, -errno) : 0;
}

/* The pipe broke with the manager: asks its successor. */
static int ask_again(Session *s) {
        for (unsigned i = 0; i < WAIT_ATTEMPTS; i++) {
                _cleanup_call_ Call call = {};
                const BusError *error;
                int r;

                r = call_simple(s->ctl, &call, s->path, BUS_PROCESS, "WaitFD", NULL);
                if (r == 0)
                        r = call_wait(s->ctl, &call);
                if (r != 0)
                        return r;
                error = call_error(&call);
                if (!error)
                        return take_exit_fd(s, call.reply);
                if (!error_is_bus(error, "NoReply"))
                        break;
        }
        return ctl_error(
                s->ctl,
                _("the manager was restarted and does not know the program any more; its exit status is not known"));
}

/* Reads the one line. Returns -1 where the pipe has to be asked for again, otherwise an exit status. */
static int read_exit(Session *s) {
        char line[128], kind[32] = "";
        unsigned status;
        ssize_t n;

        do
                n = read(s->exit_fd, line, sizeof(line) - 1);
        while (n < 0 && errno == EINTR);
        if (n > 0) {
                line[n] = '\0';
                if (sscanf(line, "%u %31s", &status, kind) >= 1 && status < 256) {
                        if (streq(kind, "lost"))
                                return ctl_error(s->ctl, _("the program has ended, nobody knows how")), (int)status;
                        return (int)status;
                }
        }
        n = ask_again(s);
        return n == 0 ? -1 : (int)n;
}

/* Whatever was written before the end is still shown; what a background process writes after it is not waited for. */
static void drain(Session *s) {
        for (size_t i = 0; i < s->stdio.n_relays; i++) {
                Relay *relay = &s->stdio.relays[i];
                struct pollfd fd = { .events = POLLIN };

                while (relay_drain(relay) && s->terminal) {
                        fd.fd = relay->from;
                        if (poll(&fd, 1, DRAIN_QUIET_MS) <= 0)
                                break;
                }
        }
}

/* The end of our stdin, where the container's is a pipe that others keep as well. */
static void pass_end(Session *s) {
        static const char *const names[] = { "stdin", NULL };

        for (size_t i = 0; i < s->stdio.n_relays; i++) {
                const Relay *relay = &s->stdio.relays[i];
                _cleanup_message_ Message *m = NULL;

                if (!s->kept_streams || !relay->close_to || relay->to >= 0)
                        continue;
                s->kept_streams = false;
                m = message_new(s->path, BUS_PROCESS, "CloseStreams");
                if (!m)
                        return;
                m->destination = BUS_NAME;
                if (message_append_strv(m, (char **)names) >= 0)
                        (void)call_post(s->ctl, m);
        }
}

static bool step(Session *s) {
        struct pollfd fds[5] = { { .fd = s->exit_fd, .events = POLLIN }, { .fd = s->signal_fd, .events = POLLIN } };
        size_t n = 2;

        for (size_t i = 0; i < s->stdio.n_relays; i++, n++)
                fds[n].events = relay_events(&s->stdio.relays[i], &fds[n].fd);
        if (poll(fds, n, -1) < 0)
                return false;
        if (fds[1].revents)
                handle_signals(s);
        for (size_t i = 0; i < s->stdio.n_relays; i++)
                if (fds[2 + i].revents)
                        relay_step(&s->stdio.relays[i]);
        pass_end(s);
        return fds[0].revents != 0;
}

/* What was typed before the detach sequence is still delivered. */
static bool detached(const Session *s) {
        if (s->left_by > 0)
                return true;
        for (size_t i = 0; i < s->stdio.n_relays; i++)
                if (s->stdio.relays[i].detached && s->stdio.relays[i].begin == s->stdio.relays[i].end)
                        return true;
        return false;
}

/* What goes on without us, and how to end it. */
static void tell_detached(const Session *s) {
        if (s->interactive && isatty(STDERR_FILENO))
                (void)fputs("\r\n", stderr);
        if (s->id)
                ctl_note(_("detached; container '%s' runs on; 'davitctl stop %s' stops it"), s->id, s->id);
        else
                ctl_note("%s", _("detached; the program runs on"));
}

/** session_run() - stays until the program has ended. Returns its exit status. */
int session_run(Session *s) {
        int status = -1;

        if (s->pending_signal > 0)
                send_signal(s, s->pending_signal);
        if (s->terminal) {
                if (s->interactive)
                        (void)terminal_raw();
                send_size(s);
        }
        while (status < 0 && !detached(s))
                if (step(s))
                        status = read_exit(s);
        if (status >= 0)
                drain(s);
        terminal_restore();
        if (status < 0) {
                tell_detached(s);
                return s->left_by > 0 ? 128 + s->left_by : EXIT_SUCCESS;
        }
        return status;
}

/**
 * session_terminal() - opens the terminal of a process that is created, starts it and takes the pipe of its end.
 *
 * The three calls go out together; the manager answers them in this order. 0 or an exit status.
 */
int session_terminal(Session *s, const char *path) {
        _cleanup_call_ Call open = {}, wait = {}, start = {};
        int fd, r;

        s->path = path;
        r = call_simple(s->ctl, &open, path, BUS_PROCESS, "OpenTerminal", NULL);
        if (r == 0)
                r = call_simple(s->ctl, &wait, path, BUS_PROCESS, "WaitFD", NULL);
        if (r == 0)
                r = call_simple(s->ctl, &start, path, BUS_PROCESS, "Start", NULL);
        if (r == 0)
                r = session_call_wait(s, &open);
        if (r == 0)
                r = session_call_wait(s, &wait);
        if (r == 0)
                r = session_call_wait(s, &start);
        if (r != 0)
                return r;
        if (call_error(&start))
                return session_report(s, &start);
        if (call_error(&open) || call_error(&wait))
                return call_report(s->ctl, call_error(&open) ? &open : &wait, NULL);
        r = message_read(open.reply, "h", &fd);
        if (r >= 0)
                r = fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (r >= 0)
                r = stdio_terminal(&s->stdio, fd, s->interactive);
        if (r < 0)
                return bus_protocol_error(s->ctl, r);
        return take_exit_fd(s, wait.reply);
}

/** session_clear() - frees what a session holds. */
void session_clear(Session *s) {
        terminal_restore();
        stdio_clear(&s->stdio);
        s->exit_fd = safe_close(s->exit_fd);
        s->signal_fd = safe_close(s->signal_fd);
}
