/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Hooks (runtime-spec config.md "POSIX-platform Hooks").
 *
 * Each runs to its end before the next begins, with the container's state on its standard input and the environment
 * the configuration gives it, which is empty without one. What it writes is only kept for the message of its failure.
 * The same code serves those of the host, run by davit-oci, and those of the container, run by its first process.
 */

#include "shim/hook.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shared/syscalls.h"

#define OUTPUT_MAX 256U

struct run {
        const struct plan *plan;
        const struct plan_hook *hook;
        int pidfd, output;
        size_t size;
        char text[OUTPUT_MAX];
};

/** hook_stage_name() - the name config.json has for a stage */
const char *hook_stage_name(uint32_t stage) {
        static const char *const names[] = {
                [PLAN_HOOK_PRESTART] = "prestart",
                [PLAN_HOOK_CREATE_RUNTIME] = "createRuntime",
                [PLAN_HOOK_CREATE_CONTAINER] = "createContainer",
                [PLAN_HOOK_START_CONTAINER] = "startContainer",
                [PLAN_HOOK_POSTSTART] = "poststart",
                [PLAN_HOOK_POSTSTOP] = "poststop",
        };

        return stage < ELEMENTSOF(names) && names[stage] ? names[stage] : "unknown";
}

/** hooks_given() - whether the plan has hooks of a stage */
bool hooks_given(const struct plan *plan, uint32_t stage) {
        const struct plan_hook *h = plan_array(plan, plan->hooks);

        for (uint32_t i = 0; i < plan->hooks.n; i++)
                if (h[i].stage == stage)
                        return true;
        return false;
}

static char **hook_strings(const struct plan *plan, struct plan_list list, const char *first) {
        const plan_str *s = plan_array(plan, list);
        char **strings = calloc((size_t)list.n + 2, sizeof(*strings));

        if (strings && list.n == 0)
                strings[0] = (char *)first;
        for (uint32_t i = 0; strings && i < list.n; i++)
                strings[i] = (char *)plan_string(plan, s[i]);
        return strings;
}

_noreturn_ static void hook_child(const struct run *run, int state_fd, int output, const char *cwd) {
        const char *path = plan_string(run->plan, run->hook->path);
        char **argv = hook_strings(run->plan, run->hook->args, path);
        char **env = hook_strings(run->plan, run->hook->env, NULL);
        sigset_t none;

        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)umask(0022);
        if (argv && env && dup2(state_fd, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
            dup2(output, STDERR_FILENO) >= 0 && (!cwd || chdir(cwd) >= 0))
                (void)execve(path, argv, env);
        (void)dprintf(output, "%s", strerror(errno));
        _exit(127);
}

static int hook_fault(const struct run *run, struct fault *fault, int error, const char *what) {
        return fault_set(fault, SHIM_STEP_COMMAND, error, "%s hook %u (%s): %s", hook_stage_name(run->hook->stage),
                         run->hook->index, plan_string(run->plan, run->hook->path), what);
}

static int hook_spawn(struct run *run, int state_fd, const char *cwd) {
        struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
        int pipes[2];
        pid_t pid;

        if (lseek(state_fd, 0, SEEK_SET) < 0 || pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        (void)fd_set_nonblock(pipes[0], true);
        args.pidfd = (uint64_t)(uintptr_t)&run->pidfd;
        pid = sys_clone3(&args);
        if (pid == 0)
                hook_child(run, state_fd, pipes[1], cwd);
        run->output = pipes[0];
        safe_close(pipes[1]);
        if (pid < 0)
                return -errno;
        return 0;
}

/* The first words are kept, the rest is thrown away. */
static void hook_read(struct run *run) {
        char rest[512];

        for (;;) {
                bool full = run->size + 1 >= sizeof(run->text);
                ssize_t n = full ? read(run->output, rest, sizeof(rest))
                                 : read(run->output, run->text + run->size, sizeof(run->text) - 1 - run->size);

                if (n == 0)
                        run->output = safe_close(run->output);
                if (n <= 0)
                        return;
                if (!full)
                        run->size += (size_t)n;
        }
}

/* 0 when it has ended, -ETIMEDOUT when it has not in time. */
static int hook_watch(struct run *run) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + run->hook->timeout * USEC_PER_SEC;

        for (;;) {
                struct pollfd p[2] = { { .fd = run->pidfd, .events = POLLIN },
                                       { .fd = run->output, .events = POLLIN } };
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int wait = -1, n;

                if (run->hook->timeout > 0)
                        wait = now >= end ? 0 : (int)((end - now + 999) / 1000);
                n = poll(p, ELEMENTSOF(p), wait);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && p[1].revents)
                        hook_read(run);
                if (n > 0 && p[0].revents)
                        break;
                if (n == 0)
                        return -ETIMEDOUT;
        }
        if (run->output >= 0)
                hook_read(run);
        return 0;
}

static int hook_judge(struct run *run, const siginfo_t *info, struct fault *fault) {
        if (info->si_code == CLD_EXITED && info->si_status == 0)
                return 0;
        while (run->size > 0 && run->text[run->size - 1] == '\n')
                run->size--;
        run->text[run->size] = '\0';
        if (fault->error < 0)
                return fault->error;
        fault->error = -ECANCELED;
        fault->step = SHIM_STEP_COMMAND;
        (void)snprintf(fault->text, sizeof(fault->text), "%s hook %u (%s): %s %d%s%s",
                       hook_stage_name(run->hook->stage), run->hook->index, plan_string(run->plan, run->hook->path),
                       info->si_code == CLD_EXITED ? "exit status" : "signal", info->si_status,
                       run->size > 0 ? ": " : "", run->text);
        return fault->error;
}

static int hook_live(struct run *run, int state_fd, const char *cwd, struct fault *fault) {
        siginfo_t info = { .si_pid = 0 };
        int r;

        r = hook_spawn(run, state_fd, cwd);
        if (r < 0)
                return hook_fault(run, fault, r, "start");
        r = hook_watch(run);
        if (r < 0)
                (void)sys_pidfd_send_signal(run->pidfd, SIGKILL, NULL, 0);
        while (waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED) < 0 && errno == EINTR)
                ;
        return r < 0 ? hook_fault(run, fault, r, "wait") : hook_judge(run, &info, fault);
}

/** hook_run() - run one hook
 *
 * @state_fd: a file with the container's state. @cwd: the directory it begins in, NULL for the caller's.
 *
 * Return: 0, or a negative errno with the fault set: -ETIMEDOUT after the hook's own timeout, -ECANCELED when it ended
 * with anything but success.
 */
int hook_run(const struct plan *plan, const struct plan_hook *hook, int state_fd, const char *cwd,
             struct fault *fault) {
        struct run run = { .plan = plan, .hook = hook, .pidfd = -1, .output = -1 };
        int r;

        r = hook_live(&run, state_fd, cwd, fault);
        safe_close(run.pidfd);
        safe_close(run.output);
        return r;
}

/** hooks_run() - run the hooks of a stage as hook_run(), in order, until one fails */
int hooks_run(const struct plan *plan, uint32_t stage, int state_fd, const char *cwd, struct fault *fault) {
        const struct plan_hook *h = plan_array(plan, plan->hooks);
        int r = 0;

        for (uint32_t i = 0; i < plan->hooks.n && r >= 0; i++)
                if (h[i].stage == stage)
                        r = hook_run(plan, &h[i], state_fd, cwd, fault);
        return r;
}
