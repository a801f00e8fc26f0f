/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * fail-call - makes one system call of one process fail, or kills the process at it, and otherwise only looks on.
 *
 * fail-call [OPTION...] --attach PID           traces a process that runs, until SIGTERM
 * fail-call [OPTION...] -- COMMAND ARGUMENT... becomes the command, traced from its first instruction
 *
 * --follow             also what the process clones; each is numbered in the order of its birth, the first one is 0
 * --process K          whom it is to happen to, 0 by default
 * --call NUMBER --nth N --error ERRNO | --kill    at the N-th call of that number (from 1)
 * --log FILE           without --call: "call K NUMBER DETAIL" for every system call, "exec K PROGRAM" for every
 *                      execve that succeeded; with --call: "hit K NUMBER DETAIL" once it has happened
 *
 * Attached, it prints "ready". When it has happened everything is let go and runs on untraced. A call that is made to
 * fail is not made at all. It differs from strace in that the processes of one tree are told apart.
 */

#include <elf.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

#define PROCESSES_MAX 256
#define DETAIL_MAX 256

struct process {
        pid_t pid;
        long seen; /* calls of the number that is looked for */
        bool inside, failing, exists;
};

static struct {
        pid_t attach;
        bool follow, kill;
        int process, error;
        long call, nth;
        FILE *log;
        struct process processes[PROCESSES_MAX];
        int n, alive;
} self = { .call = -1, .nth = 1 };

static _Noreturn void die(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static int find(pid_t pid, bool make) {
        for (int i = 0; i < self.n; i++)
                if (self.processes[i].pid == pid && self.processes[i].exists)
                        return i;
        if (!make || self.n == PROCESSES_MAX)
                return -1;
        self.processes[self.n] = (struct process){ .pid = pid, .exists = true };
        self.alive++;
        return self.n++;
}

/* Which argument of a call is a path; -1: none, its first may be a descriptor. */
static int path_argument(uint64_t number) {
        switch (number) {
        case SYS_openat:
        case SYS_openat2:
        case SYS_mkdirat:
        case SYS_mknodat:
        case SYS_unlinkat:
        case SYS_readlinkat:
        case SYS_newfstatat:
        case SYS_statx:
        case SYS_faccessat:
        case SYS_fchmodat:
        case SYS_fchownat:
        case SYS_renameat:
        case SYS_open_tree:
        case SYS_mount_setattr:
                return 1;
        case SYS_execve:
        case SYS_chdir:
        case SYS_statfs:
        case SYS_umount2:
        case SYS_pivot_root:
        case SYS_fsopen:
#ifdef SYS_open
        case SYS_open:
        case SYS_access:
        case SYS_stat:
        case SYS_lstat:
        case SYS_unlink:
        case SYS_mkdir:
        case SYS_rmdir:
        case SYS_readlink:
#endif
                return 0;
        default:
                return -1;
        }
}

/* For the reader of a failed test alone. */
static void describe(pid_t pid, const struct __ptrace_syscall_info *info, char text[DETAIL_MAX]) {
        int argument = path_argument(info->entry.nr);
        char link[64];
        ssize_t n;

        memset(text, 0, DETAIL_MAX);
        if (argument >= 0) {
                struct iovec here = { text, DETAIL_MAX - 1 }, there = { NULL, DETAIL_MAX - 1 };
                uint64_t address = info->entry.args[argument];

                /* Not beyond the page, which may be the last one. */
                if (there.iov_len > 4096 - address % 4096)
                        there.iov_len = 4096 - address % 4096;
                memcpy(&there.iov_base, &address, sizeof(there.iov_base));
                (void)process_vm_readv(pid, &here, 1, &there, 1, 0);
                text[strnlen(text, DETAIL_MAX)] = '\0';
        } else {
                (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, (int)info->entry.args[0]);
                n = readlink(link, text, DETAIL_MAX - 1);
                if (n < 0)
                        (void)snprintf(text, DETAIL_MAX, "%#llx", (unsigned long long)info->entry.args[0]);
        }
        for (char *c = text; *c; c++)
                if (*c < ' ' || *c == 127)
                        *c = '?';
}

static void skip_call(pid_t pid) {
#if defined(__x86_64__)
        if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L) < 0)
                die("set system call");
#elif defined(__aarch64__)
        int none = -1;
        struct iovec iov = { &none, sizeof(none) };

        if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &iov) < 0)
                die("set system call");
#else
#error "no way to skip a system call on this architecture"
#endif
}

static void set_result(pid_t pid, long result) {
#if defined(__x86_64__)
        if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), result) < 0)
                die("set result");
#elif defined(__aarch64__)
        struct user_regs_struct regs;
        struct iovec iov = { &regs, sizeof(regs) };

        if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov) < 0)
                die("get registers");
        regs.regs[0] = (unsigned long long)result;
        if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) < 0)
                die("set result");
#endif
}

/* The kernel lets go of everything that is traced when the tracer ends. */
static _Noreturn void done(int k, long number, const char *detail) {
        (void)fprintf(self.log, "hit %d %ld %s\n", k, number, detail);
        (void)fclose(self.log);
        exit(EXIT_SUCCESS);
}

static void on_call(int k) {
        struct process *p = &self.processes[k];
        struct __ptrace_syscall_info info;
        char detail[DETAIL_MAX];

        if (ptrace(PTRACE_GET_SYSCALL_INFO, p->pid, sizeof(info), &info) < 0)
                return;
        if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
                if (p->failing) {
                        set_result(p->pid, -self.error);
                        done(k, self.call, "");
                }
                return;
        }
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
                return;
        if (self.call < 0) {
                describe(p->pid, &info, detail);
                (void)fprintf(self.log, "call %d %llu %s\n", k, (unsigned long long)info.entry.nr, detail);
                return;
        }
        if (k != self.process || (long)info.entry.nr != self.call || ++p->seen != self.nth)
                return;
        if (self.kill) {
                describe(p->pid, &info, detail);
                (void)kill(p->pid, SIGKILL);
                done(k, self.call, detail);
        }
        skip_call(p->pid);
        p->failing = true;
}

static void on_exec(int k) {
        char link[64], program[DETAIL_MAX];
        ssize_t n;

        if (self.call >= 0)
                return;
        (void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)self.processes[k].pid);
        n = readlink(link, program, sizeof(program) - 1);
        program[n < 0 ? 0 : n] = '\0';
        (void)fprintf(self.log, "exec %d %s\n", k, program);
}

static void go_on(pid_t pid, int signal) {
        (void)ptrace(PTRACE_SYSCALL, pid, NULL, (long)signal);
}

static void on_stop(pid_t pid, int status) {
        int event = status >> 16, signal = WSTOPSIG(status), k = find(pid, true);

        if (k < 0)
                return;
        if (event == PTRACE_EVENT_STOP) {
                /* A group stop goes on being one; the stop after the attachment or a birth ends. */
                if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)
                        (void)ptrace(PTRACE_LISTEN, pid, NULL, NULL);
                else
                        go_on(pid, 0);
                return;
        }
        if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
                unsigned long child = 0;

                (void)ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child);
                (void)find((pid_t)child, true); /* in the order of birth, whoever stops first */
        } else if (event == PTRACE_EVENT_EXEC)
                on_exec(k);
        else if (signal == (SIGTRAP | 0x80))
                on_call(k);
        go_on(pid, event || signal == (SIGTRAP | 0x80) ? 0 : signal);
}

static void seize(pid_t pid) {
        long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC;

        if (self.follow)
                options |= PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
        (void)find(pid, true);
        if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
                die("attach");
}

/* Wherever it comes: one that only ended a wait would be lost between two. */
static void on_term(int signal) {
        (void)signal;
        _exit(EXIT_SUCCESS);
}

static _Noreturn void trace(int ready) {
        struct sigaction action = { .sa_handler = on_term };
        bool told = false;

        (void)sigaction(SIGTERM, &action, NULL);
        while (self.alive > 0) {
                int status;
                pid_t pid = waitpid(-1, &status, __WALL);

                if (pid < 0)
                        break;
                if (WIFSTOPPED(status)) {
                        on_stop(pid, status);
                        if (!told && (write(ready, "ready\n", 6) < 0 || close(ready) < 0))
                                die("tell");
                        told = true;
                } else {
                        int k = find(pid, false);

                        if (k >= 0) {
                                self.processes[k].exists = false;
                                self.alive--;
                        }
                }
        }
        (void)fclose(self.log);
        exit(EXIT_SUCCESS);
}

/* The caller's child is to be the command itself: the tracer is a grandchild of nobody's. */
static void command(char *argv[]) {
        int ready[2];
        char word[8];
        pid_t pid = getpid(), child;

        if (pipe(ready) < 0)
                die("pipe");
        child = fork();
        if (child < 0)
                die("fork");
        if (child == 0) {
                if (fork() != 0)
                        _exit(EXIT_SUCCESS);
                /* Nobody is to wait for the end of streams that only the tracer still holds. */
                if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) ||
                    !freopen("/dev/null", "w", stderr))
                        _exit(EXIT_FAILURE);
                (void)close(ready[0]);
                seize(pid);
                trace(ready[1]);
        }
        (void)waitpid(child, NULL, 0);
        (void)close(ready[1]);
        if (read(ready[0], word, sizeof(word)) <= 0)
                die("tracer");
        (void)close(ready[0]);
        (void)fclose(self.log);
        (void)execvp(argv[0], argv);
        die(argv[0]);
}

int main(int argc, char *argv[]) {
        enum { ATTACH = 1, FOLLOW, PROCESS, CALL, NTH, ERROR, KILL, LOG };
        static const struct option options[] = {
                { "attach", required_argument, NULL, ATTACH },   { "follow", no_argument, NULL, FOLLOW },
                { "process", required_argument, NULL, PROCESS }, { "call", required_argument, NULL, CALL },
                { "nth", required_argument, NULL, NTH },         { "error", required_argument, NULL, ERROR },
                { "kill", no_argument, NULL, KILL },             { "log", required_argument, NULL, LOG },
                {},
        };

        for (int c; (c = getopt_long(argc, argv, "+", options, NULL)) >= 0;)
                switch (c) {
                case ATTACH:
                        self.attach = (pid_t)atoi(optarg);
                        break;
                case FOLLOW:
                        self.follow = true;
                        break;
                case PROCESS:
                        self.process = atoi(optarg);
                        break;
                case CALL:
                        self.call = atol(optarg);
                        break;
                case NTH:
                        self.nth = atol(optarg);
                        break;
                case ERROR:
                        self.error = atoi(optarg);
                        break;
                case KILL:
                        self.kill = true;
                        break;
                case LOG:
                        self.log = fopen(optarg, "we");
                        break;
                default:
                        return 2;
                }
        if (!self.log || (self.attach == 0 && optind == argc))
                return 2;
        setvbuf(self.log, NULL, _IOLBF, 0);
        if (self.attach == 0)
                command(argv + optind);
        seize(self.attach);
        trace(STDOUT_FILENO);
}
