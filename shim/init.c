/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The container's first process, from clone3 to execve.
 *
 * It is the shim's child, made in new namespaces, and turns itself into the container step by step: mounts, devices,
 * masks, new root, identity, capabilities, filter. Everything that does not need the final cgroup is done while systemd
 * is still busy with the scope. It is not dumpable until execve, keeps no descriptor of the host, and dies with the
 * shim until the program runs. It reports to nobody but the shim, and never returns.
 */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/cgroup.h"
#include "shim/hook.h"
#include "shim/namespace.h"
#include "shim/setup.h"

/** setup_tell() - send one message to the shim, with one descriptor or -1 */
int setup_tell(struct setup *s, uint32_t message, int fd) {
        if (message == SETUP_FAULT)
                return packet_send(s->sock, &message, sizeof(message), s->fault, sizeof(*s->fault), NULL, 0, NULL, 0);
        return packet_send(s->sock, &message, sizeof(message), NULL, 0, NULL, 0, &fd, fd >= 0 ? 1 : 0);
}

/** setup_await() - wait for the shim's next message; -EPIPE when the shim has gone
 *
 * @ret_fd: where a descriptor that comes with it goes, NULL where none is expected.
 */
int setup_await(struct setup *s, uint32_t *ret, int *ret_fd) {
        struct packet packet;
        int r;

        do
                r = packet_recv(s->sock, &packet);
        while (packet_transient(r));
        if (r <= 0)
                return r < 0 ? r : -EPIPE;
        if (packet.size != sizeof(*ret)) {
                packet_done(&packet);
                return -EBADMSG;
        }
        memcpy(ret, packet.data, sizeof(*ret));
        if (ret_fd && packet.n_fds > 0) {
                safe_close(*ret_fd);
                *ret_fd = packet_take_fd(&packet, 0);
        }
        packet_done(&packet);
        return 0;
}

/** setup_die() - report the fault and end */
void setup_die(struct setup *s) {
        (void)setup_tell(s, SETUP_FAULT, -1);
        _exit(EXIT_FAILURE);
}

/** setup_expect() - setup_await() for one of two messages; anything else is a fault */
int setup_expect(struct setup *s, uint32_t first, uint32_t second, uint32_t *ret, int *ret_fd) {
        uint32_t message = 0;
        int r = setup_await(s, &message, ret_fd);

        if (r < 0 || (message != first && message != second))
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, r < 0 ? r : -EBADMSG, "word from the shim");
        if (ret)
                *ret = message;
        return 0;
}

/** setup_begin() - a session of its own, and no life without the shim
 *
 * The container of a bundle outlives who has made it, and notices by its socket when that dies too early.
 */
int setup_begin(struct setup *s) {
        if (!(s->plan->flags & PLAN_BUNDLE) && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "die with the shim");
        if (setsid() < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "session");
        return 0;
}

/* What the process is before it has mounted anything. */
static int init_begin(struct setup *s) {
        int r;

        r = setup_begin(s);
        if (r < 0)
                return r;
        (void)umask(0);
        if (s->plan->clone_flags & CLONE_NEWUSER) {
                r = setup_expect(s, SETUP_MAPPED, SETUP_MAPPED, NULL, NULL);
                if (r < 0)
                        return r;
        }
        if (namespace_is_users(s->plan)) {
                r = namespace_become_root(s);
                if (r < 0)
                        return r;
        }
        r = namespace_enter(s);
        return r < 0 ? r : namespace_identify(s);
}

/* The file system, with the host's still in reach. */
static int init_build(struct setup *s, bool scoped, int *cgroup_targets) {
        int r;

        r = rootfs_attach(s);
        if (r >= 0)
                r = stdio_open_null(s);
        if (r >= 0)
                r = mounts_make(s, scoped, cgroup_targets);
        if (r >= 0)
                r = devices_make(s);
        if (r >= 0)
                r = user_resolve(s);
        if (r >= 0 && s->stdio.terminal)
                r = terminal_open(s, true);
        if (r >= 0)
                r = masks_make(s);
        if (r >= 0)
                r = namespace_network(s);
        if (r >= 0)
                r = sysctls_write(s, "");
        if (r >= 0)
                r = labels_set(s);
        if (r >= 0)
                r = cwd_make(s);
        if (r >= 0)
                r = rootfs_finish(s);
        return r < 0 ? r : stdio_prepare(s);
}

static int init_enter_cgroup(struct setup *s) {
        int r;

        if (s->plan->clone_flags & CLONE_NEWCGROUP)
                return unshare(CLONE_NEWCGROUP) < 0
                               ? fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "cgroup namespace")
                               : 0;
        if (!mounts_need_cgroup_first(s->plan))
                return 0;
        r = cgroup_own_path(&s->cgroup_path);
        return r < 0 ? fault_set(s->fault, SHIM_STEP_CGROUP, r, "cgroup of the container") : 0;
}

/** setup_identity() - the last part, common to the first process and an exec: streams, limits, user, capabilities,
 * command */
int setup_identity(struct setup *s) {
        bool filter = s->plan->seccomp.program.n > 0, late = !(s->plan->flags & PLAN_NO_NEW_PRIVS) && filter;
        int r, entered;

        (void)umask(s->plan->flags & PLAN_UMASK ? s->plan->process.umask & 0777 : 0022);
        r = stdio_apply(s);
        if (r >= 0)
                r = rlimits_set(s);
        if (r >= 0)
                r = scheduling_set(s);
        if (r >= 0)
                r = environment_make(s);
        if (r >= 0)
                r = capability_bound(s);
        if (r < 0)
                return r;
        entered = cwd_enter(s, false);
        if (entered < 0)
                return entered;
        r = user_become(s);
        if (r >= 0)
                r = capability_apply(s, late);
        if (r >= 0 && entered == 0)
                r = cwd_enter(s, true);
        if (r < 0)
                return r;
        if ((s->plan->flags & PLAN_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_CAPABILITY, errno, "no_new_privs");
        return command_find(s);
}

/** setup_release() - cut the tie to the shim and unblock signals, right before the program */
int setup_release(struct setup *s) {
        sigset_t none;

        if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
                return fault_set(s->fault, SHIM_STEP_COMMAND, errno, "outlive the shim");
        (void)sigemptyset(&none);
        if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                return fault_set(s->fault, SHIM_STEP_COMMAND, errno, "signals");
        return 0;
}

/* What may only be done while the host's file systems are in reach, and hooks that rely on it. */
static int init_hooks(struct setup *s) {
        int r;

        if (!hooks_given(s->plan, PLAN_HOOK_PRESTART) && !hooks_given(s->plan, PLAN_HOOK_CREATE_RUNTIME) &&
            !hooks_given(s->plan, PLAN_HOOK_CREATE_CONTAINER))
                return 0;
        r = setup_tell(s, SETUP_HOOKS, -1);
        if (r >= 0)
                r = setup_expect(s, SETUP_HOOKED, SETUP_HOOKED, NULL, &s->state_fd);
        return r < 0 ? r : hooks_run(s->plan, PLAN_HOOK_CREATE_CONTAINER, s->state_fd, NULL, s->fault);
}

/* So often it may lack something when it is started, which would end a container for a moment's want. */
#define ACCEPT_SHORT_MAX 8U

/* Whoever starts the container connects; one that goes away without a word was none. */
static int init_wait_detached(struct setup *s) {
        unsigned short_of = 0;
        uint32_t word = 0;

        for (;;) {
                s->sock = safe_close(s->sock);
                s->sock = accept4(s->start_fd, NULL, NULL, SOCK_CLOEXEC);
                if (s->sock < 0 && errno != EINTR && errno != ECONNABORTED && short_of++ >= ACCEPT_SHORT_MAX)
                        return fault_set(s->fault, SHIM_STEP_COMMAND, errno, "wait for the start");
                if (s->sock >= 0 && setup_await(s, &word, &s->state_fd) >= 0 && word == SETUP_START)
                        break;
        }
        s->start_fd = safe_close(s->start_fd);
        return 0;
}

/* The handler has gone. The first process of a namespace is deaf to itself too, and ends as a program would that heeds
 * the signal; any other ends by the signal, as without us. */
static void on_end(int number) {
        (void)raise(number);
        _exit(128 + number);
}

/* What asks a program to end does so before there is one; the first process of a namespace is deaf to whatever it has
 * no handler for. They go with execve. */
static void heed_signals(void) {
        static const int numbers[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
        struct sigaction action = { .sa_handler = on_end, .sa_flags = SA_RESETHAND | SA_NODEFER };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                (void)sigaction(numbers[i], &action, NULL);
}

static int init_wait(struct setup *s) {
        uint32_t word = 0;
        int r;

        if (s->start_fd >= 0) /* whoever is to start it may take long */
                heed_signals();
        r = setup_tell(s, SETUP_READY, -1);
        if (r >= 0)
                r = setup_expect(s, SETUP_START, s->start_fd >= 0 ? SETUP_DETACH : SETUP_START, &word, &s->state_fd);
        if (r >= 0 && word == SETUP_DETACH)
                r = init_wait_detached(s);
        return r < 0 ? r : hooks_run(s->plan, PLAN_HOOK_START_CONTAINER, s->state_fd, NULL, s->fault);
}

static int init_run(struct setup *s, int *cgroup_targets) {
        /* Hooks may look at the cgroup, or change it. */
        bool first = mounts_need_cgroup_first(s->plan) || s->plan->hooks.n > 0;
        uint32_t word = 0;
        int r;

        r = init_begin(s);
        if (r >= 0 && first) {
                r = setup_expect(s, SETUP_SCOPED, SETUP_SCOPED_START, &word, NULL);
                if (r >= 0)
                        r = init_enter_cgroup(s);
        }
        if (r >= 0)
                r = init_build(s, first, cgroup_targets);
        if (r >= 0)
                r = init_hooks(s);
        if (r >= 0)
                r = rootfs_pivot(s);
        if (r >= 0 && !first) {
                r = setup_expect(s, SETUP_SCOPED, SETUP_SCOPED_START, &word, NULL);
                if (r >= 0)
                        r = init_enter_cgroup(s);
                if (r >= 0)
                        r = mounts_make_cgroup(s, cgroup_targets);
        }
        if (r >= 0)
                r = setup_identity(s);
        if (r >= 0 && word != SETUP_SCOPED_START)
                r = init_wait(s);
        return r < 0 ? r : setup_release(s);
}

/** init_main() - be the container's first process */
void init_main(struct setup *s) {
        int *cgroup_targets = malloc(sizeof(int) * (s->plan->mounts.n + 1));

        if (!cgroup_targets) {
                (void)fault_set(s->fault, SHIM_STEP_MOUNT, ENOMEM, "mounts");
                setup_die(s);
        }
        for (uint32_t i = 0; i < s->plan->mounts.n; i++)
                cgroup_targets[i] = -1;
        s->terminal_fd = -1;
        if (init_run(s, cgroup_targets) < 0)
                setup_die(s);
        command_run(s);
}
