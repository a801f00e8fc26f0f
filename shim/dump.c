/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dumps, as the launcher sees them.
 *
 * Each is a process of its own (dump-role.c), which the launcher lets work and whose words it passes on to the manager
 * that has asked. A manager that goes away takes its dumps with it: they are over, and their containers in nobody's
 * hands, before the next manager is heard. One that has not ended so long after it was told to is killed, and one that
 * the kernel keeps even so is not waited for.
 */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shared/log.h"
#include "shared/macros.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/dump.h"
#include "shim/launcher.h"

/* A dump that was told to end takes less where it can at all. */
#define PATIENCE_USEC (15 * USEC_PER_SEC)
#define DEATH_USEC USEC_PER_SEC

struct dump {
        struct dump *next;
        pid_t pid;
        int sock;
        uint32_t serial;
        bool told;        /* LAUNCHER_DUMP_DONE has gone out */
        bool ended;       /* and LAUNCHER_DUMP_ENDED, or there is to be none */
        uint64_t kill_at; /* CLOCK_MONOTONIC, microseconds; 0: it was not told to end */
};

static void failed(struct launcher *l, uint32_t serial, int error, const char *text) {
        struct launcher_dumped done = { .error = error, .cause = LAUNCHER_DUMP_FAILED };

        (void)shim_send(l->manager, LAUNCHER_DUMP_DONE, serial, &done, text, NULL, 0);
}

enum { DUMP_SOCK = 3, DUMP_IMAGES, DUMP_LIFE, DUMP_FDS_END };

/* It keeps nothing of the launcher's but what it works with, and what shows the manager that it is there. */
_noreturn_ static void dump_child(const struct launcher *l, int sock, int images, int life,
                                  const struct launcher_dump *request) {
        int from[] = { sock, images, life };

        for (size_t i = 0; i < ELEMENTSOF(from); i++) {
                if (from[i] < 0)
                        continue;
                from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, DUMP_FDS_END);
                if (from[i] < 0)
                        _exit(EXIT_FAILURE);
        }
        if (close_range(DUMP_SOCK, DUMP_FDS_END - 1, 0) < 0)
                _exit(EXIT_FAILURE);
        for (size_t i = 0; i < ELEMENTSOF(from); i++)
                if (from[i] >= 0 && dup3(from[i], DUMP_SOCK + (int)i, O_CLOEXEC) < 0)
                        _exit(EXIT_FAILURE);
        if (close_range(DUMP_FDS_END, ~0U, 0) < 0)
                _exit(EXIT_FAILURE);
        dump_role(DUMP_SOCK, images < 0 ? -1 : DUMP_IMAGES, request, l->criu);
}

static int dump_fork(const struct launcher *l, struct dump *d, int images, int life,
                     const struct launcher_dump *request) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        int socks[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return -errno;
        d->pid = sys_clone3(&args);
        if (d->pid == 0)
                dump_child(l, socks[1], images, life, request);
        safe_close(socks[1]);
        d->sock = socks[0];
        return d->pid < 0 ? -errno : 0;
}

static size_t dump_count(const struct launcher *l) {
        size_t n = 0;

        for (const struct dump *d = l->dumps; d; d = d->next)
                n++;
        return n;
}

/** dump_start() - begin a dump, of which the manager hears by LAUNCHER_DUMP_DONE in any case */
void dump_start(struct launcher *l, struct packet *p, const struct launcher_dump *request, uint32_t serial) {
        _cleanup_close_ int images = packet_take_fd(p, 0), life = packet_take_fd(p, 1);
        struct dump *d;
        int r;

        if ((images < 0) != !!(request->flags & LAUNCHER_DUMP_CHECK)) {
                failed(l, serial, -EBADMSG, "a dump has one directory");
                return;
        }
        if (dump_count(l) >= DUMPS_MAX) {
                failed(l, serial, -EAGAIN, "too many dumps at a time");
                return;
        }
        d = calloc(1, sizeof(*d));
        if (!d) {
                failed(l, serial, -ENOMEM, strerror(ENOMEM));
                return;
        }
        *d = (struct dump){ .next = l->dumps,
                            .sock = -1,
                            .serial = serial,
                            .ended = !(request->flags & LAUNCHER_DUMP_EXIT) };
        r = dump_fork(l, d, images, life, request);
        if (r < 0) {
                failed(l, serial, r, strerror(-r));
                safe_close(d->sock);
                free(d);
                return;
        }
        l->dumps = d;
}

static void dump_kill(struct dump *d) {
        (void)kill(d->pid, SIGKILL);
        d->kill_at = 0;
}

/** dump_end() - pass on what the manager wants of a dump; one that is over is passed over */
void dump_end(struct launcher *l, const struct launcher_dump_end *end, uint32_t serial) {
        for (struct dump *d = l->dumps; d; d = d->next) {
                if (d->serial == serial && shim_send(d->sock, LAUNCHER_DUMP_END, 0, end, NULL, NULL, 0) >= 0)
                        d->kill_at = now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;
        }
}

static int wait_until(uint64_t then) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        return then <= now ? 0 : (int)((then - now) / 1000) + 1;
}

/** dump_timeout() - kills those that are late; how long until the next one is, in milliseconds, or -1 */
int dump_timeout(struct launcher *l) {
        int next = -1;

        for (struct dump *d = l->dumps; d; d = d->next) {
                int msec = d->kill_at == 0 ? -1 : wait_until(d->kill_at);

                if (msec == 0)
                        dump_kill(d);
                else if (msec > 0 && (next < 0 || msec < next))
                        next = msec;
        }
        return next;
}

/** dump_fill() - what to wait for; @p has room for DUMPS_MAX. Return: how many */
size_t dump_fill(struct launcher *l, struct pollfd *p) {
        size_t n = 0;

        for (const struct dump *d = l->dumps; d && n < DUMPS_MAX; d = d->next)
                p[n++] = (struct pollfd){ .fd = d->sock, .events = POLLIN };
        return n;
}

static bool ended_until(const struct dump *d, uint64_t then) {
        _cleanup_close_ int fd = sys_pidfd_open(d->pid, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return fd < 0 || poll(&p, 1, wait_until(then)) > 0;
}

/* Its process ends by itself, or does so when it sees that nobody is there. */
static void dump_bury(struct dump *d, uint64_t until) {
        bool ended = ended_until(d, until);

        if (!ended) {
                dump_kill(d);
                ended = ended_until(d, now_usec(CLOCK_MONOTONIC) + DEATH_USEC);
        }
        if (ended)
                (void)waitpid(d->pid, NULL, 0);
        else
                log_warning("Process %d, which dumps a container, does not end even when it is killed", (int)d->pid);
        free(d);
}

static void dump_forget_one(struct launcher *l, struct dump *d) {
        for (struct dump **p = &l->dumps; *p; p = &(*p)->next)
                if (*p == d) {
                        *p = d->next;
                        break;
                }
        safe_close(d->sock);
        dump_bury(d, now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC);
}

static void pass_on(struct launcher *l, struct dump *d) {
        static const char killed[] = "the process that dumps was killed";
        static const struct shim_result result = { .error = -ECHILD };
        const struct shim_message *m;
        const void *body;
        const char *text;
        size_t size;
        struct packet p;
        int r;

        r = packet_recv(d->sock, &p);
        if (packet_transient(r))
                return;
        if (r > 0 && shim_packet_check(&p, &m, &body, &text, &size) >= 0) {
                (void)shim_send_text(l->manager, m->type, d->serial, body, text, size, NULL, 0);
                if (m->type == LAUNCHER_DUMP_DONE && ((const struct launcher_dumped *)body)->error == 0)
                        (void)snprintf(l->criu, sizeof(l->criu), "%.*s", (int)size, text);
                d->told = d->told || m->type == LAUNCHER_DUMP_DONE;
                d->ended = d->ended || m->type == LAUNCHER_DUMP_ENDED;
                packet_done(&p);
                return;
        }
        packet_done(&p);
        if (!d->told)
                failed(l, d->serial, -ECHILD, killed);
        else if (!d->ended)
                (void)shim_send(l->manager, LAUNCHER_DUMP_ENDED, d->serial, &result, killed, NULL, 0);
        dump_forget_one(l, d);
}

/** dump_poll() - @p, of dump_fill(), has been waited for */
void dump_poll(struct launcher *l, const struct pollfd *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                for (struct dump *d = p[i].revents ? l->dumps : NULL; d; d = d->next)
                        if (d->sock == p[i].fd) {
                                pass_on(l, d);
                                break;
                        }
}

/** dump_forget() - the manager has gone: no dump goes on */
void dump_forget(struct launcher *l) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;

        for (struct dump *d = l->dumps; d; d = d->next)
                d->sock = safe_close(d->sock);
        while (l->dumps) {
                struct dump *d = l->dumps;

                l->dumps = d->next;
                dump_bury(d, until);
        }
}
