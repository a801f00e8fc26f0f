/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Warm shims.
 *
 * A shim is forked from the launcher ahead of time, so that a start pays neither for exec nor for the dynamic linker,
 * and shares nearly all its memory with every other. It is made PID 1's child, since it outlives the launcher. After
 * the fork it keeps its end of one socket pair and its standard streams, and nothing else that the launcher has.
 */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/launcher.h"
#include "shim/shim.h"
#include "shim/title.h"

/* "systemctl kill" reaches every process of a unit: what it sends is meant for the container, and the shim stays to
 * tell of the end. Three signals are heard, those of its own faults are not held back. */
static int signals_open(void) {
        static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
        sigset_t heard, blocked;
        int fd;

        (void)sigemptyset(&heard);
        (void)sigaddset(&heard, SIGCHLD);
        (void)sigaddset(&heard, SIGTERM);
        (void)sigaddset(&heard, SIGURG);
        (void)sigfillset(&blocked);
        for (size_t i = 0; i < ELEMENTSOF(faults); i++)
                (void)sigdelset(&blocked, faults[i]);
        fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 || sigprocmask(SIG_SETMASK, &blocked, NULL) < 0 ? -errno : fd;
}

_noreturn_ static void warm_child(int control) {
        int fd;

        title_set(NULL, NULL);
        if (dup2(control, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0 || close_range(4, ~0U, 0) < 0)
                _exit(EXIT_FAILURE);
        fd = signals_open();
        if (fd < 0)
                _exit(EXIT_FAILURE);
        shim_main(3, fd);
}

/** warm_fork() - fork one shim
 *
 * Return: 0 with its pid, a pidfd and the manager's end of its control socket, which the caller owns; or a negative
 * errno.
 */
int warm_fork(struct launcher *l, pid_t *ret_pid, int *ret_pidfd, int *ret_control) {
        struct clone_args args = { .flags = CLONE_PARENT | CLONE_PIDFD };
        int socks[2], pidfd = -1, r;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return -errno;
        args.pidfd = (uint64_t)(uintptr_t)&pidfd;
        pid = sys_clone3(&args);
        if (pid < 0) {
                r = -errno;
                safe_close(socks[0]);
                safe_close(socks[1]);
                return r;
        }
        if (pid == 0)
                warm_child(socks[1]);
        safe_close(socks[1]);
        l->n_forks++;
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        *ret_control = socks[0];
        return 0;
}
