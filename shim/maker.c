/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The maker of davit-oci's containers and execs.
 *
 * The same code as in a task's shim makes the process, but nobody stays with it: it is cloned as davit-oci's child,
 * which leaves it to whoever collects orphans there (conmon, a shim of containerd's). The maker is a process of its
 * own, so that what a container's first process was before its exec has read nothing, and is a file that nobody can
 * write to.
 */

#include "shim/maker.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/child.h"
#include "shim/namespace.h"
#include "shim/prepare.h"

struct maker {
        struct maker_request request;
        const struct plan *plan;
        int plan_fd, cgroup_fd;
        int network; /* a socket to the process, which waits there for its network namespace; or -1 */
        struct process made;
        struct setup setup;
        struct fault fault;
};

static int take_streams(struct maker *m, struct packet *p, size_t next) {
        struct stdio *io = &m->setup.stdio;

        if (m->request.n_preserved > STDIO_LISTEN_MAX || m->request.n_named > m->request.n_preserved ||
            next + m->request.n_preserved != p->n_fds)
                return -EBADMSG;
        for (; io->n_listen < m->request.n_preserved; io->n_listen++)
                io->listen[io->n_listen] = packet_take_fd(p, next + io->n_listen);
        io->n_named = m->request.n_named;
        return 0;
}

static int take_request(struct maker *m, struct packet *p) {
        size_t next = 0;

        if (p->size != sizeof(m->request))
                return -EBADMSG;
        memcpy(&m->request, p->data, sizeof(m->request));
        m->plan_fd = packet_take_fd(p, next++);
        if (m->request.flags & MAKER_CGROUP)
                m->cgroup_fd = packet_take_fd(p, next++);
        if (m->request.flags & MAKER_START)
                m->setup.start_fd = packet_take_fd(p, next++);
        if (m->request.flags & MAKER_INIT)
                m->setup.init_pidfd = packet_take_fd(p, next++);
        if (m->plan_fd < 0 || next > p->n_fds)
                return -EBADMSG;
        return take_streams(m, p, next);
}

/* The caller's streams are the process's, unless it gets a terminal. */
static int own_streams(struct maker *m) {
        struct stdio *io = &m->setup.stdio;

        if (m->plan->flags & PLAN_TERMINAL) {
                io->terminal = true;
                return 0;
        }
        for (int i = 0; i < 3; i++) {
                io->fds[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
                if (io->fds[i] < 0 && errno != EBADF) /* a closed one becomes the null device */
                        return fault_set(&m->fault, SHIM_STEP_STDIO, errno, "descriptor %d", i);
        }
        return 0;
}

static int oom_score(struct maker *m) {
        char text[16];
        int r;

        if (!(m->plan->flags & PLAN_OOM_SCORE_ADJ))
                return 0;
        (void)snprintf(text, sizeof(text), "%d", m->plan->process.oom_score_adj);
        r = proc_write(getpid(), "oom_score_adj", text); /* for the child to begin with */
        return r < 0 ? fault_set(&m->fault, SHIM_STEP_RLIMIT, r, "oom_score_adj %s", text) : 0;
}

/* In a user namespace it would belong to the wrong one. */
static int postpone_network(struct maker *m, uint64_t *flags) {
        int socks[2];

        if (!(*flags & CLONE_NEWNET) || (*flags & CLONE_NEWUSER))
                return 0;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return fault_set(&m->fault, SHIM_STEP_NAMESPACE, errno, "socket pair");
        m->network = socks[0];
        m->setup.net_sock = socks[1];
        *flags &= ~(uint64_t)CLONE_NEWNET;
        return 0;
}

/* What it costs is spent while the process mounts; if it fails, the process says so. */
static void make_network(struct maker *m) {
        _cleanup_close_ int fd = -1;

        if (m->network < 0)
                return;
        if (unshare(CLONE_NEWNET) >= 0)
                fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        (void)packet_send(m->network, "", 1, NULL, 0, NULL, 0, &fd, fd >= 0 ? 1 : 0);
}

static int make_container(struct maker *m) {
        uint64_t flags = m->plan->clone_flags & NAMESPACE_FLAGS_AT_CLONE;
        int r;

        r = setup_open(&m->setup, m->plan, &m->fault);
        if (r >= 0)
                r = setup_namespaces(&m->setup, &flags, &m->fault);
        if (r >= 0)
                r = postpone_network(m, &flags);
        if (r >= 0)
                r = setup_join(&m->setup, &m->fault);
        if (r < 0)
                return r;
        r = child_clone(&m->made, &m->setup, flags | CLONE_PARENT, m->cgroup_fd);
        if (r == 0)
                init_main(&m->setup);
        if (r < 0)
                return fault_set(&m->fault, SHIM_STEP_NAMESPACE, r, "clone the container's first process");
        if (m->made.start_time == 0) /* by which every later davit-oci knows the process */
                return fault_set(&m->fault, SHIM_STEP_NAMESPACE, EIO, "start time of the container's first process");
        return setup_map(&m->setup, m->made.pid, m->made.sock, &m->fault);
}

static int make_exec(struct maker *m) {
        struct setup *su = &m->setup;
        char path[40];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)m->request.init_pid);
        su->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (su->root_fd < 0)
                return fault_set(&m->fault, SHIM_STEP_ROOTFS, errno, "the container's root");
        /* The number was still the container's if the process is there now. */
        if (sys_pidfd_send_signal(su->init_pidfd, 0, NULL, 0) < 0)
                return fault_set(&m->fault, SHIM_STEP_NAMESPACE, errno, "the container's first process");
        su->join_flags = m->request.join;
        if ((su->join_flags & CLONE_NEWPID) && setns(su->init_pidfd, CLONE_NEWPID) < 0)
                return fault_set(&m->fault, SHIM_STEP_NAMESPACE, errno, "join the container's pid namespace");
        r = child_clone(&m->made, su, CLONE_PARENT, m->cgroup_fd);
        if (r == 0)
                exec_main(su);
        return r < 0 ? fault_set(&m->fault, SHIM_STEP_NAMESPACE, r, "clone the process") : 0;
}

static int make(struct maker *m) {
        bool exec = m->request.flags & MAKER_INIT;
        int r;

        r = plan_map(m->plan_fd, exec ? PLAN_EXEC : PLAN_CONTAINER, &m->plan, &m->fault);
        m->setup.plan = m->plan;
        if (r >= 0)
                r = own_streams(m);
        if (r >= 0)
                r = oom_score(m);
        if (r >= 0)
                r = exec ? make_exec(m) : make_container(m);
        return r;
}

static int answer(struct maker *m, int sock) {
        struct maker_answer a = { .error = m->fault.error, .step = m->fault.step };
        int fds[2] = { m->made.pidfd, m->made.sock };

        if (a.error < 0) {
                if (m->made.pidfd >= 0)
                        (void)sys_pidfd_send_signal(m->made.pidfd, SIGKILL, NULL, 0);
                memcpy(a.text, m->fault.text, sizeof(a.text));
                return packet_send(sock, &a, sizeof(a), NULL, 0, NULL, 0, NULL, 0);
        }
        a.pid = m->made.pid;
        a.start_time = m->made.start_time;
        return packet_send(sock, &a, sizeof(a), NULL, 0, NULL, 0, fds, ELEMENTSOF(fds));
}

/* A caller's ignored signals are not the container's. */
static void default_signals(void) {
        struct sigaction action = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void)sigaction(i, &action, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/** maker_main() - serve one request; the exit status */
int maker_main(int sock) {
        struct maker m = { .plan_fd = -1, .cgroup_fd = -1, .network = -1, .made = PROCESS_NULL, .setup = SETUP_NULL };
        struct packet packet;
        int r;

        /* What is cloned here is in a container's pid namespace before it has executed anything else. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return EXIT_FAILURE;
        default_signals();
        m.setup.fault = &m.fault;
        if (packet_recv(sock, &packet) <= 0)
                return EXIT_FAILURE; /* davit-oci has found that there is nothing to make */
        r = take_request(&m, &packet);
        packet_done(&packet);
        if (r < 0)
                (void)fault_set(&m.fault, SHIM_STEP_PLAN, r, "request of davit-oci");
        else
                (void)make(&m);
        r = answer(&m, sock);
        if (r >= 0 && m.fault.error >= 0)
                make_network(&m);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
