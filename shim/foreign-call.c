/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One run of another OCI runtime's program.
 *
 * A child of the shim's does it, so that the shim never waits: it enters the runtime's namespaces, writes what the
 * runtime reads, executes the program with the arguments runc and crun share, waits for its end, and tells what came
 * of it. The container's process has become the shim's child by then, since the shim is the nearest subreaper. Of what
 * the program writes only the pid file is read here; its log goes to the task directory as it is.
 */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/plan-check.h"
#include "shared/runtime-protocol.h"
#include "shared/syscalls.h"
#include "shim/foreign-call.h"
#include "shim/namespace.h"

#define LOG_MAX 65536U
#define FIXED_ARGUMENTS 24U

static const char *string_of(const struct call_setup *c, plan_str s) {
        return plan_string(c->shim->plan, s);
}

/** call_verb() - the sub-command of a call */
const char *call_verb(enum call_kind kind) {
        static const char *const verbs[_CALL_KIND_MAX] = {
                [CALL_CREATE] = "create", [CALL_START] = "start",   [CALL_EXEC] = "exec",     [CALL_KILL] = "kill",
                [CALL_PAUSE] = "pause",   [CALL_RESUME] = "resume", [CALL_DELETE] = "delete",
        };

        return verbs[kind];
}

/** call_tell() - send one message to the shim, with one descriptor or -1 */
int call_tell(struct call_setup *c, uint32_t message, pid_t pid, int fd) {
        struct call_record record = { .message = message, .pid = pid };

        if (message == CALL_FAULT)
                record.fault = *c->fault;
        return packet_send(c->sock, &record, sizeof(record), NULL, 0, NULL, 0, &fd, fd >= 0 ? 1 : 0);
}

/** call_fault() - remember that a call has failed before, or beside, the program */
int call_fault(struct call_setup *c, int error, const char *what) {
        return fault_set(c->fault, SHIM_STEP_RUNTIME, error, "%s %s: %s", string_of(c, c->shim->plan->runtime.program),
                         call_verb(c->kind), what);
}

/* The absolute path of the program; owned by the caller. */
static char *program_find(struct call_setup *c) {
        const char *name = string_of(c, c->shim->plan->runtime.program);

        if (*name == '/')
                return strdup(name);
        for (const char *dir = RUNTIME_SEARCH_PATH; *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
                char *path = NULL;

                if (asprintf(&path, "%.*s/%s", (int)strcspn(dir, ":"), dir, name) < 0)
                        return NULL;
                if (access(path, X_OK) == 0)
                        return path;
                free(path);
        }
        return NULL;
}

static char *file_of(const struct call_setup *c, const char *suffix) {
        char *path = NULL;

        return asprintf(&path, RUNTIME_BUNDLE "/%s%s", c->name, suffix) < 0 ? NULL : path;
}

struct argv {
        const char **v;
        size_t n;
};

static void add(struct argv *a, const char *option, const char *value) {
        a->v[a->n++] = option;
        if (value)
                a->v[a->n++] = value;
}

/* Files and strings live until the program is executed, by a process that ends then or soon after. */
static void add_making(struct call_setup *c, struct argv *a) {
        if (c->kind == CALL_CREATE) {
                add(a, "--bundle", RUNTIME_BUNDLE);
                if (c->plan->flags & PLAN_NO_PIVOT)
                        add(a, "--no-pivot", NULL);
                if (c->plan->flags & PLAN_KEEP_KEYRING)
                        add(a, "--no-new-keyring", NULL);
        } else {
                add(a, "--detach", NULL);
                add(a, "--process", file_of(c, ".json"));
        }
        add(a, "--pid-file", file_of(c, ".pid"));
        if (c->setup->stdio.terminal)
                add(a, "--console-socket", file_of(c, ".sock"));
}

static int arguments(struct call_setup *c, const char *program, struct argv *a) {
        const struct plan_runtime *runtime = &c->shim->plan->runtime;
        const plan_str *given = plan_array(c->shim->plan, runtime->arguments);
        char *number = NULL;

        a->v = calloc((size_t)runtime->arguments.n + FIXED_ARGUMENTS, sizeof(char *));
        if (!a->v)
                return call_fault(c, ENOMEM, "arguments");
        add(a, program, NULL);
        for (uint32_t i = 0; i < runtime->arguments.n; i++)
                add(a, string_of(c, given[i]), NULL);
        add(a, "--root", string_of(c, runtime->root));
        add(a, "--log", file_of(c, ".log"));
        add(a, "--log-format", "json");
        add(a, call_verb(c->kind), NULL);
        if (c->kind == CALL_CREATE || c->kind == CALL_EXEC)
                add_making(c, a);
        if (c->kind == CALL_DELETE)
                add(a, "--force", NULL);
        add(a, string_of(c, c->shim->plan->id), NULL);
        if (c->kind == CALL_KILL && asprintf(&number, "%d", c->signal) >= 0)
                add(a, number, NULL);
        for (size_t i = 0; i < a->n; i++)
                if (!a->v[i])
                        return call_fault(c, ENOMEM, "arguments");
        return 0;
}

/* The streams on 0, 1 and 2, sockets that are passed on from 3. */
static int program_streams(const struct call_setup *c) {
        const struct stdio *io = c->setup ? &c->setup->stdio : NULL;
        int base = 3 + (io ? (int)io->n_listen : 0), null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
        int moved[3 + STDIO_LISTEN_MAX];

        for (int i = 0; i < base; i++) {
                int fd = !io ? -1 : i >= 3 ? io->listen[i - 3] : io->fds[i];

                moved[i] = fcntl(fd >= 0 ? fd : null, F_DUPFD_CLOEXEC, base);
                if (moved[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < base; i++)
                if (dup2(moved[i], i) < 0)
                        return -errno;
        return close_range((unsigned)base, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

_noreturn_ static void program_execute(const struct call_setup *c, const struct argv *a, int error_fd) {
        char path[] = "PATH=" RUNTIME_SEARCH_PATH, fds[32], pid[32], *env[] = { path, NULL, NULL, NULL };
        sigset_t none;
        int error;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, 3 + (int)STDIO_LISTEN_MAX);
        error = program_streams(c);
        if (c->kind == CALL_CREATE && c->setup->stdio.n_listen > 0) {
                (void)snprintf(fds, sizeof(fds), "LISTEN_FDS=%zu", c->setup->stdio.n_listen);
                (void)snprintf(pid, sizeof(pid), "LISTEN_PID=%d", (int)getpid());
                env[1] = fds;
                env[2] = pid;
        }
        (void)umask(0022);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        if (error >= 0 && chdir("/") >= 0) {
                (void)execve(a->v[0], (char *const *)a->v, env);
                error = -errno;
        }
        (void)fd_write_all(error_fd, &error, sizeof(error));
        _exit(127);
}

/* What the runtime has logged, beside the fault. */
static void log_keep(struct call_setup *c) {
        char name[SHIM_EXEC_ID_MAX + 16] = RUNTIME_LOG;
        _cleanup_free_ char *path = file_of(c, ".log"), *text = NULL;
        _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        struct stat st;
        size_t size;

        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        if (st.st_size > (off_t)LOG_MAX && lseek(fd, st.st_size - (off_t)LOG_MAX, SEEK_SET) < 0)
                return;
        if (fd_read_bounded(fd, LOG_MAX, &text, &size) < 0)
                return;
        if (*c->exec_id)
                (void)snprintf(name, sizeof(name), RUNTIME_EXEC_LOG, c->exec_id);
        (void)file_replace_at(c->shim->task_dir, name, text, size, 0600, false);
}

static int program_judge(struct call_setup *c, const siginfo_t *info) {
        if (info->si_code == CLD_EXITED && info->si_status == 0)
                return 0;
        c->fault->error = -EBUSY;
        c->fault->step = SHIM_STEP_RUNTIME;
        (void)snprintf(c->fault->text, sizeof(c->fault->text), "%s %s: %s %d",
                       string_of(c, c->shim->plan->runtime.program), call_verb(c->kind),
                       info->si_code == CLD_EXITED ? "exit status" : "signal", info->si_status);
        if (c->kind != CALL_DELETE)
                log_keep(c);
        return c->fault->error;
}

static int program_run(struct call_setup *c) {
        _cleanup_free_ char *program = program_find(c);
        siginfo_t info = { .si_pid = 0 };
        struct argv argv = { .n = 0 };
        int pipes[2], error = 0, r;
        pid_t pid;

        if (!program)
                return call_fault(c, ENOENT, "search in " RUNTIME_SEARCH_PATH);
        r = arguments(c, program, &argv);
        if (r >= 0 && pipe2(pipes, O_CLOEXEC) < 0)
                r = call_fault(c, errno, "pipe");
        if (r < 0) {
                free(argv.v);
                return r;
        }
        pid = fork();
        if (pid == 0)
                program_execute(c, &argv, pipes[1]);
        safe_close(pipes[1]);
        free(argv.v);
        if (pid < 0) {
                safe_close(pipes[0]);
                return call_fault(c, errno, "fork");
        }
        (void)fd_read_all(pipes[0], &error, sizeof(error));
        safe_close(pipes[0]);
        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
                ;
        return error < 0 ? call_fault(c, error, program) : program_judge(c, &info);
}

static int terminal_listen(struct call_setup *c) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_free_ char *path = file_of(c, ".sock");
        _cleanup_close_ int fd = -1;

        if (!path)
                return call_fault(c, ENOMEM, "console socket");
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
                return call_fault(c, errno, "console socket");
        return take_fd(&fd);
}

/* The runtime has ended: what it has sent is there. */
static int terminal_take(struct call_setup *c, int listener) {
        const struct plan_process *p = &c->plan->process;
        struct winsize size = { .ws_row = (uint16_t)p->console_height, .ws_col = (uint16_t)p->console_width };
        _cleanup_close_ int sock = -1, master = -1;
        struct packet packet;
        int r;

        sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (sock < 0)
                return call_fault(c, errno, "terminal");
        r = packet_recv(sock, &packet);
        if (r > 0) {
                master = packet_take_fd(&packet, 0);
                packet_done(&packet);
        }
        if (master < 0 || !isatty(master))
                return call_fault(c, r < 0 ? r : ENOTTY, "terminal");
        if (size.ws_row > 0 && size.ws_col > 0)
                (void)ioctl(master, TIOCSWINSZ, &size);
        r = call_tell(c, CALL_TERMINAL, 0, master);
        return r < 0 ? call_fault(c, r, "terminal") : 0;
}

static int pid_read(struct call_setup *c, pid_t *ret) {
        _cleanup_free_ char *path = file_of(c, ".pid"), *text = NULL;
        char *end = NULL;
        long pid = 0;
        int r = path ? file_read_at(AT_FDCWD, path, 32, &text, NULL) : -ENOMEM;

        if (r >= 0)
                pid = strtol(text, &end, 10);
        if (r < 0 || pid <= 1 || pid > INT32_MAX || (*end != '\0' && *end != '\n'))
                return call_fault(c, r < 0 ? r : EBADMSG, "pid file");
        *ret = (pid_t)pid;
        return 0;
}

/* create and exec: a process comes of it. */
static int call_make(struct call_setup *c, pid_t *ret_pid) {
        bool create = c->kind == CALL_CREATE;
        _cleanup_free_ char *config = create ? strdup(RUNTIME_BUNDLE "/config.json") : file_of(c, ".json");
        _cleanup_close_ int listener = -1;
        int r;

        r = config ? bundle_write(c, config) : call_fault(c, ENOMEM, "configuration");
        if (r >= 0 && c->setup->stdio.terminal)
                r = listener = terminal_listen(c);
        if (r >= 0)
                r = program_run(c);
        if (r >= 0 && listener >= 0)
                r = terminal_take(c, listener);
        if (r >= 0)
                r = pid_read(c, ret_pid);
        if (!create && config)
                (void)unlink(config);
        return r;
}

static void files_remove(const struct call_setup *c) {
        static const char *const suffixes[] = { ".log", ".pid", ".sock" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_free_ char *path = file_of(c, suffixes[i]);

                if (path)
                        (void)unlink(path);
        }
}

static int call_run(struct call_setup *c, pid_t *ret_pid) {
        int r;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || setsid() < 0)
                return call_fault(c, errno, "session");
        if (c->shim->oom_protected) /* the container would inherit it */
                (void)proc_write(getpid(), "oom_score_adj", "0");
        if (asprintf(&c->name, "%s-%d", call_verb(c->kind), (int)getpid()) < 0) {
                c->name = NULL;
                return call_fault(c, ENOMEM, "name");
        }
        r = bundle_enter(c);
        if (r >= 0)
                r = c->kind == CALL_CREATE || c->kind == CALL_EXEC ? call_make(c, ret_pid) : program_run(c);
        files_remove(c);
        /* A signal gets there whatever has become of the runtime. */
        if (r < 0 && c->kind == CALL_KILL && sys_pidfd_send_signal(c->shim->init.pidfd, c->signal, NULL, 0) >= 0)
                r = 0;
        return r;
}

/** call_main() - be the child that runs the program */
void call_main(struct call_setup *c) {
        pid_t pid = 0;
        int r = call_run(c, &pid);

        (void)call_tell(c, r < 0 ? CALL_FAULT : CALL_DONE, pid, -1);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
