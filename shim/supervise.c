/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The shim's event loop.
 *
 * One shim is one thread with one loop, from the moment the launcher forks it to the end of its task. It listens to the
 * manager it was given to, or to the one that connected to its socket last; to its children; and to systemd, whose
 * SIGTERM or SIGURG on the unit means stop. It needs none of them to go on: a manager that goes away is only missed, a
 * full socket is closed.
 */

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/process.h"
#include "shim/foreign.h"
#include "shim/namespace.h"
#include "shim/process.h"
#include "shim/shim.h"

#define ORPHAN_TIMEOUT_USEC (5 * USEC_PER_SEC)

/** shim_tell() - send to the manager, if there is one; one that does not read is given up */
int shim_tell(struct shim *s, uint16_t type, uint32_t serial, const void *body, const char *text, const int *fds,
              size_t n_fds) {
        int r;

        if (s->control < 0)
                return -ENOTCONN;
        r = shim_send(s->control, type, serial, body, text, fds, n_fds);
        if (r < 0)
                s->control = safe_close(s->control);
        return r;
}

/** shim_reply() - answer a request; @error is 0 or a negative errno */
void shim_reply(struct shim *s, uint32_t serial, int error, const char *text) {
        struct shim_result result = { .error = error };
        char sentence[256];

        if (error < 0 && text)
                (void)snprintf(sentence, sizeof(sentence), "%s: %s", text, strerror(-error));
        (void)shim_tell(s, SHIM_REPLY, serial, &result, error < 0 && text ? sentence : NULL, NULL, 0);
}

/** shim_process() - a process by its exec id, "" for the first one; NULL when there is none */
struct process *shim_process(struct shim *s, const char *exec_id) {
        if (*exec_id == '\0')
                return s->init.state == PROCESS_NONE ? NULL : &s->init;
        for (struct process *p = s->execs; p; p = p->next)
                if (streq(p->exec_id, exec_id))
                        return p;
        return NULL;
}

/** shim_reap() - collect what has ended
 *
 * A process of which nobody knows is an orphan of the container that has outlived its parent. During a restore it may
 * be the first process too, of which criu has not told yet: then nothing is collected.
 */
void shim_reap(struct shim *s) {
        bool strays = false;

        while (!s->restore) {
                siginfo_t info = { .si_pid = 0 };
                struct process *p;

                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 && errno == EINTR)
                        continue;
                if (info.si_pid == 0)
                        break;
                p = s->init.pid == info.si_pid && s->init.state != PROCESS_ENDED ? &s->init : NULL;
                for (struct process *e = s->execs; e && !p; e = e->next)
                        if (e->pid == info.si_pid)
                                p = e;
                if (p)
                        process_ended(s, p, &info);
                else
                        foreign_stray(s, &info);
                strays = strays || !p;
        }
        if (strays)
                cgroup_sweep_execs(&s->cgroup);
        shim_end_continue(s);
}

static void handle_signal(struct shim *s) {
        struct signalfd_siginfo info;

        while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGCHLD)
                        shim_reap(s);
                else { /* systemd stops the unit, so it is done with starting it */
                        s->scoped = true;
                        shim_stop(s, 0, true, s->stop_timeout_usec);
                }
        }
}

static void manager_gone(struct shim *s) {
        s->control = safe_close(s->control);
        if (s->phase == SHIM_PHASE_WARM || s->phase == SHIM_PHASE_PARKED)
                s->phase = SHIM_PHASE_DONE;
        else if (!s->scoped) /* the next manager undoes such a start, if it finds us */
                s->give_up_at = now_usec(CLOCK_MONOTONIC) + ORPHAN_TIMEOUT_USEC;
}

static void handle_control(struct shim *s) {
        struct packet packet;
        int r;

        r = packet_recv(s->control, &packet);
        if (packet_transient(r))
                return;
        if (r == -EMSGSIZE && packet.size >= sizeof(struct shim_message)) {
                shim_reply(s, ((const struct shim_message *)packet.data)->serial, -EMFILE,
                           "descriptors of the request");
                packet_done(&packet);
                return;
        }
        if (r <= 0) {
                manager_gone(s);
                return;
        }
        shim_request(s, &packet);
        packet_done(&packet);
        if (s->control < 0)
                manager_gone(s);
}

/* Another manager counts its own requests: what the last one waits for becomes an event. */
static void forget_serials(struct shim *s) {
        s->pause_serial = s->init.serial = 0;
        for (struct process *e = s->execs; e; e = e->next)
                e->serial = 0;
}

/* Only root of our own user namespace is a manager. The last one to come is the one to talk to. */
static void handle_listener(struct shim *s) {
        struct ucred peer;
        socklen_t size = sizeof(peer);
        int fd;

        fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0) {
                safe_close(fd);
                return;
        }
        safe_close(s->control);
        s->control = fd;
        forget_serials(s);
}

static void handle_events(struct shim *s) {
        bool populated, frozen;

        if (s->phase == SHIM_PHASE_ENDING) {
                shim_end_continue(s);
                return;
        }
        if (!s->pausing || cgroup_state(&s->cgroup, &populated, &frozen) < 0 || !frozen)
                return;
        s->pausing = false;
        s->paused = true;
        s->cgroup.events_fd = safe_close(s->cgroup.events_fd);
        if (s->pause_serial)
                shim_reply(s, s->pause_serial, 0, NULL);
        else
                shim_tell_state(s, &s->init, 0);
}

static void handle_deadlines(struct shim *s) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (s->kill_at && now >= s->kill_at) {
                s->kill_at = 0;
                shim_kill_all(s);
        }
        if (s->oom.look_again && now >= s->oom.look_again)
                oom_noticed(s);
        if (violation_flush_at(s) && now >= violation_flush_at(s))
                violation_flush(s);
        if (foreign_deadline(s) && now >= foreign_deadline(s))
                foreign_late(s);
        if (drop_deadline(s) && now >= drop_deadline(s))
                drop_look(s);
        if (s->give_up_at && now >= s->give_up_at && s->control < 0) {
                s->give_up_at = 0;
                shim_discard(s);
        }
}

#define TIMEOUT_MAX_USEC (3600 * USEC_PER_SEC)

/* @ret: until the first deadline; NULL: there is none */
static const struct timespec *next_timeout(const struct shim *s, struct timespec *ret) {
        uint64_t deadlines[] = { s->kill_at,
                                 s->control < 0 ? s->give_up_at : 0,
                                 s->oom.look_again,
                                 violation_flush_at(s),
                                 foreign_deadline(s),
                                 drop_deadline(s) };
        uint64_t at = UINT64_MAX, now, left;

        for (size_t i = 0; i < ELEMENTSOF(deadlines); i++)
                if (deadlines[i] && deadlines[i] < at)
                        at = deadlines[i];
        if (at == UINT64_MAX)
                return NULL;
        now = now_usec(CLOCK_MONOTONIC);
        left = now >= at ? 0 : at - now > TIMEOUT_MAX_USEC ? TIMEOUT_MAX_USEC : at - now;
        *ret = (struct timespec){ (time_t)(left / USEC_PER_SEC), (long)(left % USEC_PER_SEC * 1000) };
        return ret;
}

enum {
        POLL_SIGNAL,
        POLL_CONTROL,
        POLL_LISTENER,
        POLL_EVENTS,
        POLL_OOM,
        POLL_ASKED,
        POLL_DROPS,
        POLL_LEFT,
        POLL_INIT,
        POLL_EXECS,
};

static size_t fill_poll(struct shim *s, struct pollfd *p, size_t max) {
        bool events = s->pausing || s->phase == SHIM_PHASE_ENDING;
        size_t n = POLL_EXECS;

        p[POLL_SIGNAL] = (struct pollfd){ .fd = s->signal_fd, .events = POLLIN };
        p[POLL_CONTROL] = (struct pollfd){ .fd = s->control, .events = POLLIN };
        p[POLL_LISTENER] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
        p[POLL_EVENTS] = (struct pollfd){ .fd = events ? s->cgroup.events_fd : -1, .events = POLLPRI };
        p[POLL_OOM] = (struct pollfd){ .fd = oom_poll_fd(s), .events = oom_poll_events(s) };
        p[POLL_ASKED] = (struct pollfd){ .fd = s->violations.epoll_fd, .events = POLLIN };
        p[POLL_DROPS] = (struct pollfd){ .fd = s->drops.epoll_fd, .events = POLLIN };
        p[POLL_LEFT] = (struct pollfd){ .fd = s->cgroup.left_fd, .events = POLLIN };
        p[POLL_INIT] = (struct pollfd){ .fd = s->init.sock, .events = POLLIN };
        for (struct process *e = s->execs; e && n < max; e = e->next)
                if (e->sock >= 0)
                        p[n++] = (struct pollfd){ .fd = e->sock, .events = POLLIN };
        return foreign_fill(s, p, n, max);
}

static struct process *exec_by_sock(struct shim *s, int sock) {
        for (struct process *e = s->execs; e; e = e->next)
                if (e->sock == sock)
                        return e;
        return NULL;
}

/* Execs in the making that do not fit wait for the next round. */
#define POLL_MAX 32

static void turn(struct shim *s) {
        struct pollfd p[POLL_MAX];
        size_t n = fill_poll(s, p, ELEMENTSOF(p));
        struct timespec timeout;

        if (ppoll(p, n, next_timeout(s, &timeout), NULL) < 0)
                return;
        /* Children speak before their end is dealt with; a manager is heard last, when the state is true. */
        if (p[POLL_INIT].revents)
                process_poll(s, &s->init);
        for (size_t i = POLL_EXECS; i < n; i++) {
                struct process *e = p[i].revents ? exec_by_sock(s, p[i].fd) : NULL;

                if (e)
                        process_poll(s, e);
                else if (p[i].revents)
                        foreign_poll(s, p[i].fd);
        }
        if (p[POLL_ASKED].revents)
                violation_noticed(s);
        if (p[POLL_OOM].revents)
                oom_noticed(s);
        if (p[POLL_DROPS].revents)
                drop_noticed(s);
        if (p[POLL_LEFT].revents)
                cgroup_sweep_execs(&s->cgroup);
        if (p[POLL_SIGNAL].revents)
                handle_signal(s);
        if (p[POLL_EVENTS].revents)
                handle_events(s);
        if (p[POLL_LISTENER].revents && s->listener >= 0)
                handle_listener(s);
        else if (p[POLL_CONTROL].revents && s->control >= 0)
                handle_control(s);
        handle_deadlines(s);
}

/* Never to be killed: without the shim nobody knows how its container has ended, and what it has is too little to help.
 * Where memory is short its calls fail. */
#define OOM_SCORE "-1000"

/** shim_main() - be a warm shim, and then whatever the manager makes of it
 *
 * @control: connection to the manager. @signal_fd: a signalfd of SIGCHLD, SIGTERM and SIGURG, which are blocked.
 */
void shim_main(int control, int signal_fd) {
        struct shim s = SHIM_NULL;

        s.control = control;
        s.signal_fd = signal_fd;
        (void)fd_set_nonblock(control, true);
        (void)prctl(PR_SET_NAME, "davit-shim", 0, 0, 0);
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                _exit(EXIT_FAILURE);
        s.pid_ns_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (s.pid_ns_fd < 0)
                _exit(EXIT_FAILURE);

        /* Refused where the launcher may not; then the shim is as likely to go as anything else in its scope. */
        s.oom_protected = proc_write(getpid(), "oom_score_adj", OOM_SCORE) >= 0;
        s.net_ns_fd = namespace_make_network(s.net_sockets);
        while (s.phase != SHIM_PHASE_DONE)
                turn(&s);
        shim_cleanup(&s);
        _exit(EXIT_SUCCESS);
}
