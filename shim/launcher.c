/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The launcher.
 *
 * It is the one process outside the manager's sandbox that the manager may ask for something: warm shims, chain mounts,
 * removals. One manager at a time is served, the last to connect. The launcher keeps no state worth keeping: it can be
 * killed and started again without any container noticing, and from time to time it executes itself anew.
 */

#include "shim/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "shared/log.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/process.h"

/* So many shims come from one image of the process. */
#define FORKS_MAX 4096U

static int push_warm(struct launcher *l) {
        struct launcher_shim body = { .pid = 0 };
        int fds[2] = { -1, -1 }, r;
        pid_t pid;

        r = warm_fork(l, &pid, &fds[1], &fds[0]);
        if (r < 0)
                return log_error_errno(r, "Cannot fork a shim");
        body.pid = pid;
        r = process_start_time(pid, &body.start_time);
        if (r >= 0)
                r = shim_send(l->manager, LAUNCHER_SHIM, 0, &body, NULL, fds, 2);
        safe_close(fds[0]); /* a shim whose other end has nobody left ends by itself */
        safe_close(fds[1]);
        return r < 0 ? log_error_errno(r, "Cannot hand over a shim") : 0;
}

static void drop_manager(struct launcher *l) {
        l->manager = safe_close(l->manager);
        removal_forget(l);
        dump_forget(l);
}

/* The manager counts on each that it has asked for. Where it cannot be told it is to begin anew. */
static void push_failure(struct launcher *l, int error) {
        struct launcher_shim body = { .pid = error };

        if (l->manager >= 0 && shim_send(l->manager, LAUNCHER_SHIM, 0, &body, NULL, NULL, 0) < 0)
                drop_manager(l);
}

/* Shims first: somebody may be waiting for one. */
static void hello(struct launcher *l, const struct launcher_hello *h) {
        uint32_t n = h->warm > LAUNCHER_WARM_MAX ? LAUNCHER_WARM_MAX : h->warm;
        struct launcher_features features = { .forms = 0 };
        int r = 0;

        for (; n > 0; n--) {
                if (r >= 0)
                        r = push_warm(l);
                if (r < 0)
                        push_failure(l, r);
        }
        if (l->told || l->manager < 0)
                return;
        if (l->features == 0)
                l->features = features_find();
        features.forms = l->features;
        l->told = shim_send(l->manager, LAUNCHER_FEATURES, 0, &features, NULL, NULL, 0) >= 0;
}

static void chain(struct launcher *l, const struct launcher_chain *c, const char *text, size_t size, uint32_t serial) {
        _cleanup_free_ char *copy = strndup(text, size), *both = NULL;
        struct shim_result result = { .error = -EINVAL };
        const char *separator = memchr(text, '\0', size);

        if (copy && separator) {
                both = strndup(separator + 1, size - (size_t)(separator + 1 - text));
                if (!both)
                        result.error = -ENOMEM;
                else
                        result.error = *both ? chain_mount(l, c, copy, both) : chain_unmount(l, copy);
        }
        (void)shim_send(l->manager, LAUNCHER_CHAIN_DONE, serial, &result,
                        result.error < 0 ? strerror(-result.error) : NULL, NULL, 0);
}

static void snapshot(struct launcher *l, const struct launcher_mount *m, const char *text, size_t size,
                     uint32_t serial) {
        struct shim_result result = { .error = 0 };
        struct fault fault = FAULT_NULL;
        int fd;

        fd = snapshot_mount(m, text, size, &fault);
        if (fd < 0)
                result.error = fd;
        (void)shim_send(l->manager, LAUNCHER_MOUNT_DONE, serial, &result, fd < 0 ? fault.text : NULL, &fd, fd >= 0);
        safe_close(fd);
}

static void removal(struct launcher *l, const char *text, size_t size, uint32_t serial) {
        struct shim_result result = { .error = 0 };

        result.error = removal_start(l, text, size, serial);
        if (result.error < 0)
                (void)shim_send(l->manager, LAUNCHER_REMOVE_DONE, serial, &result, strerror(-result.error), NULL, 0);
}

static void handle_manager(struct launcher *l) {
        const struct shim_message *m;
        const void *body;
        const char *text;
        size_t text_size;
        struct packet p;
        int r;

        r = packet_recv(l->manager, &p);
        if (packet_transient(r))
                return;
        if (r > 0)
                r = shim_packet_check(&p, &m, &body, &text, &text_size) < 0 ? -EBADMSG : 1;
        if (r <= 0) {
                packet_done(&p);
                drop_manager(l);
                return;
        }
        switch (m->type) {
        case LAUNCHER_HELLO:
                hello(l, body);
                break;
        case LAUNCHER_CHAIN:
                chain(l, body, text, text_size, m->serial);
                break;
        case LAUNCHER_MOUNT:
                snapshot(l, body, text, text_size, m->serial);
                break;
        case LAUNCHER_REMOVE:
                removal(l, text, text_size, m->serial);
                break;
        case LAUNCHER_DUMP:
                dump_start(l, &p, body, m->serial);
                break;
        case LAUNCHER_DUMP_END:
                dump_end(l, body, m->serial);
                break;
        default:
                drop_manager(l);
        }
        packet_done(&p);
}

static void handle_listener(struct launcher *l) {
        struct ucred peer;
        socklen_t size = sizeof(peer);
        int fd;

        fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
                return;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0) {
                log_warning("A process of uid %u that is no manager has connected, refusing it", (unsigned)peer.uid);
                safe_close(fd);
                return;
        }
        drop_manager(l);
        l->manager = fd;
        l->told = false;
}

static int signals_prepare(void) {
        sigset_t mask;
        int fd;

        /* What a child executes begins with the defaults, whatever the launcher was started with. */
        for (int i = 1; i < _NSIG; i++)
                (void)signal(i, SIG_DFL);
        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGCHLD);
        (void)sigaddset(&mask, SIGTERM);
        if (sigprocmask(SIG_SETMASK, &mask, NULL) < 0)
                return -errno;
        fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

static bool handle_signals(struct launcher *l) {
        struct signalfd_siginfo info;

        while (read(l->signal_fd, &info, sizeof(info)) == sizeof(info))
                if (info.ssi_signo == SIGTERM)
                        return false;
        removal_reap(l);
        return true;
}

enum { POLL_LISTENER, POLL_MANAGER, POLL_SIGNAL, POLL_DUMPS };

static bool turn(struct launcher *l) {
        struct pollfd p[POLL_DUMPS + DUMPS_MAX] = {
                [POLL_LISTENER] = { .fd = l->listener, .events = POLLIN },
                [POLL_MANAGER] = { .fd = l->manager, .events = POLLIN },
                [POLL_SIGNAL] = { .fd = l->signal_fd, .events = POLLIN },
        };
        size_t n = dump_fill(l, p + POLL_DUMPS);

        if (poll(p, POLL_DUMPS + n, dump_timeout(l)) < 0)
                return true;
        if (p[POLL_SIGNAL].revents && !handle_signals(l))
                return false;
        dump_poll(l, p + POLL_DUMPS, n);
        if (p[POLL_LISTENER].revents)
                handle_listener(l);
        else if (p[POLL_MANAGER].revents)
                handle_manager(l);
        if (l->n_forks >= FORKS_MAX && !l->removals && !l->dumps) {
                int r = binary_again(l->listener, l->manager);

                l->n_forks = 0;
                (void)log_warning_errno(r, "Cannot start anew, going on");
        }
        return true;
}

/** launcher_main() - serve managers until SIGTERM
 *
 * @listener: the socket to accept on. @manager: a connection handed over by an earlier image of the process, or -1.
 */
int launcher_main(int listener, int manager) {
        struct launcher l = { .listener = listener, .manager = manager };

        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return log_error_errno(errno, "Cannot become undumpable");
        (void)prctl(PR_SET_NAME, "davit-launcher", 0, 0, 0);
        if (fcntl(listener, F_SETFD, FD_CLOEXEC) < 0 || (manager >= 0 && fcntl(manager, F_SETFD, FD_CLOEXEC) < 0))
                return log_error_errno(errno, "Not a descriptor");
        l.signal_fd = signals_prepare();
        if (l.signal_fd < 0)
                return log_error_errno(l.signal_fd, "Cannot watch signals");
        while (turn(&l))
                ;
        return 0;
}
