/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The process that dumps one task.
 *
 * The launcher forks it, because a shim has given up what a dump takes and the manager never had it. It runs criu as
 * its child, outside of the container's cgroup, answers it, and tells the launcher what has come of it. Whatever
 * happens to the launcher or the manager, it ends criu first and leaves the container held still, as it was found; a
 * criu that is killed lets go of the processes, which take back what was done to them. It never decides what becomes
 * of the images.
 */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/cgroup.h"
#include "shim/dump.h"

#define TEXT_MAX 2048U
#define OUTPUT_MAX 65536U
#define FREEZE_SECONDS 60
#define GHOST_MAX (64U << 20) /* of a file that is open and has no name any more */
/* criu undoes what it has begun when it is told so at one of its steps; killed it may take the container with it. So
 * long it has for that, or to end what it holds. */
#define ORDERLY_USEC (5 * USEC_PER_SEC)
/* What is killed and has not ended then is kept by the kernel, such as by a file system that does not answer. */
#define DEATH_MSEC 3000
#define STILL_MSEC 5000

struct role {
        int sock; /* to the launcher */
        int images;
        int criu_sock;
        bool frozen;   /* as the task was found */
        bool given_up; /* by the manager, or with it */
        bool end, asked, told;
        int failure;      /* of criu's, that came when it had been told to end the processes; negative errno */
        uint64_t kill_at; /* CLOCK_MONOTONIC, microseconds; 0: the manager has not said how it is to end */
        pid_t criu;
        bool killed, stuck; /* criu: it had to be; and is there even so */
        struct dump_task task;
        uint64_t bytes;
        char version[CRIU_VERSION_MAX];
};

static void tell(struct role *r, int error, uint32_t cause, const char *text) {
        struct launcher_dumped done = { .error = error, .cause = cause, .bytes = r->bytes };

        if (!r->told)
                (void)shim_send(r->sock, LAUNCHER_DUMP_DONE, 0, &done, text, NULL, 0);
        r->told = true;
}

static void child_begin(void) {
        sigset_t none;

        (void)sigemptyset(&none);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0 ||
            getppid() == 1)
                _exit(EXIT_FAILURE);
}

/* The launcher has something to say, or has gone: either way nobody wants the dump but who says so. */
static void hear_launcher(struct role *r) {
        const struct launcher_dump_end *end;
        const struct shim_message *m;
        const void *body;
        struct packet p;
        int q;

        q = packet_recv(r->sock, &p);
        if (packet_transient(q))
                return;
        if (q > 0 && shim_packet_check(&p, &m, &body, NULL, NULL) >= 0 && m->type == LAUNCHER_DUMP_END) {
                end = body;
                r->end = end->end;
                r->given_up = !r->end;
        } else
                r->given_up = true;
        packet_done(&p);
        if ((r->given_up || r->end) && r->kill_at == 0)
                r->kill_at = now_usec(CLOCK_MONOTONIC) + ORDERLY_USEC;
}

/* How long to wait for a child, in milliseconds; a launcher that has gone has nothing more to say. */
static int wait_for(const struct role *r) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        return r->kill_at == 0 ? -1 : now >= r->kill_at ? 0 : (int)((r->kill_at - now) / 1000) + 1;
}

/* Until @fd has something to say (true), or it is time for its process to be killed; which is not one to be left time
 * where nothing has to be undone. */
static bool attend(struct role *r, int fd, bool undoes) {
        for (;;) {
                struct pollfd p[] = { { .fd = fd, .events = POLLIN },
                                      { .fd = r->given_up ? -1 : r->sock, .events = POLLIN } };

                if (poll(p, ELEMENTSOF(p), wait_for(r)) < 0)
                        continue;
                if (p[1].revents)
                        hear_launcher(r);
                if (p[0].revents)
                        return true;
                if (wait_for(r) == 0 || (r->given_up && !undoes))
                        return false;
        }
}

/* Whether a child that is to end has done so, by itself or killed. It stays what it is until it is reaped. */
static bool child_ended(pid_t pid, int msec) {
        _cleanup_close_ int fd = sys_pidfd_open(pid, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return fd < 0 || poll(&p, 1, msec) > 0;
}

static bool child_kill(pid_t pid) {
        (void)kill(pid, SIGKILL);
        return child_ended(pid, DEATH_MSEC);
}

/* Kills criu, if it still is there, and those it has started: they are of its session, and its number stays taken until
 * it is reaped. Whether it can be. */
static bool criu_end(pid_t pid) {
        bool ended = child_kill(pid);

        (void)kill(-pid, SIGKILL);
        return ended;
}

_noreturn_ static void ask_main(const char *program, const char *argument, int out) {
        static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        const char *const argv[] = { "criu", "--no-default-config", argument, NULL };

        child_begin();
        (void)setsid();
        if (dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0)
                (void)execve(program, (char *const *)argv, (char *const *)env);
        _exit(EXIT_FAILURE);
}

/* What "criu ARGUMENT" says, of both streams, and its exit status: 0, 1 or a negative errno. A file takes it and not a
 * pipe, which those that criu has started and stopped would keep open where it is killed. */
static int criu_ask(struct role *r, const char *program, const char *argument, char **ret) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        _cleanup_close_ int out = -1, fd = -1;
        int status = -1, q = 0;
        pid_t pid;

        out = memfd_create("criu", MFD_CLOEXEC);
        if (out < 0)
                return -errno;
        pid = sys_clone3(&args);
        if (pid == 0)
                ask_main(program, argument, out);
        if (pid < 0)
                return -errno;
        fd = sys_pidfd_open(pid, 0);
        if (fd < 0 || !attend(r, fd, false))
                q = -ECANCELED;
        if (!criu_end(pid))
                return -EBUSY;
        if (waitpid(pid, &status, 0) != pid || lseek(out, 0, SEEK_SET) < 0)
                return -errno;
        if (q >= 0)
                q = fd_read_bounded(out, OUTPUT_MAX, ret, NULL);
        return q < 0 ? q : !WIFEXITED(status) || WEXITSTATUS(status);
}

static void find_version(struct role *r, const char *program) {
        _cleanup_free_ char *text = NULL;
        const char *p;

        if (criu_ask(r, program, "--version", &text) == 0 && text) {
                p = strstr(text, "Version: ");
                p = p ? p + 9 : text;
                (void)snprintf(r->version, sizeof(r->version), "%.*s", (int)strcspn(p, "\n"), p);
        }
}

/* The first error is what is missing, the others are what comes of it. */
static void check(struct role *r, const char *program) {
        char errors[TEXT_MAX - 64], sentence[TEXT_MAX];
        _cleanup_free_ char *text = NULL;
        const char *hierarchy;
        int q;

        if (cgroup_mount_point(&hierarchy) == -EOPNOTSUPP) {
                tell(r, -EOPNOTSUPP, LAUNCHER_DUMP_MISSING,
                     "criu holds a container still by the unified cgroup hierarchy (cgroup2), which is not mounted");
                return;
        }
        q = criu_ask(r, program, "check", &text);
        if (q == 0) {
                find_version(r, program);
                tell(r, 0, LAUNCHER_DUMP_OK, r->version);
                return;
        }
        if (q == -ECANCELED) {
                tell(r, q, LAUNCHER_DUMP_CANCELLED, "the answer of \"criu check\" was not waited for");
                return;
        }
        if (!criu_errors(text, errors, sizeof(errors)))
                (void)snprintf(errors, sizeof(errors), "it fails and gives no reason");
        (void)snprintf(sentence, sizeof(sentence), "\"criu check\" says: %s", errors);
        tell(r, -EOPNOTSUPP, LAUNCHER_DUMP_MISSING, sentence);
}

static int criu_start(struct role *r, const char *program) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        int socks[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return -errno;
        r->criu = sys_clone3(&args);
        if (r->criu == 0) {
                child_begin();
                (void)setsid();
                criu_run(program, socks[1]);
        }
        safe_close(socks[1]);
        r->criu_sock = socks[0];
        return r->criu < 0 ? -errno : 0;
}

static int criu_request(struct role *r, struct fault *fault) {
        _cleanup_criu_ struct criu_message options = { .data = NULL }, request = { .data = NULL };
        uint32_t flags = r->task.flags;
        int q;

        criu_put_number(&options, CRIU_IMAGES_DIR_FD, (uint64_t)r->images);
        criu_put_number(&options, CRIU_LEAVE_RUNNING, !(flags & LAUNCHER_DUMP_EXIT));
        criu_put_number(&options, CRIU_EXT_UNIX_SK, !!(flags & LAUNCHER_DUMP_UNIX));
        criu_put_number(&options, CRIU_TCP_ESTABLISHED, !!(flags & LAUNCHER_DUMP_TCP));
        criu_put_number(&options, CRIU_FILE_LOCKS, !!(flags & LAUNCHER_DUMP_LOCKS));
        criu_put_number(&options, CRIU_ORPHAN_PTS_MASTER, !!(flags & LAUNCHER_DUMP_TERMINAL));
        criu_put_number(&options, CRIU_LOG_LEVEL, CRIU_LOG_WARNINGS);
        criu_put_text(&options, CRIU_LOG_FILE, DUMP_LOG);
        criu_put_number(&options, CRIU_NOTIFY_SCRIPTS, true);
        criu_put_number(&options, CRIU_MANAGE_CGROUPS_MODE, CRIU_CGROUPS_IGNORE);
        criu_put_number(&options, CRIU_GHOST_LIMIT, GHOST_MAX);
        criu_put_number(&options, CRIU_TIMEOUT, FREEZE_SECONDS);
        q = dump_task_describe(&r->task, r->images, &options, fault);
        if (q >= 0)
                q = criu_finish(&request, CRIU_DUMP, &options);
        if (q >= 0 && send(r->criu_sock, request.data, request.size, MSG_NOSIGNAL) < 0)
                q = -errno;
        return q < 0 ? fault_set(fault, SHIM_STEP_RESTORE, q, "request to criu") : 0;
}

struct finished {
        uint64_t bytes;
        struct fault fault;
};

_noreturn_ static void finish_main(int images, int out) {
        struct finished f = { .fault = FAULT_NULL };

        child_begin();
        (void)close_range(STDERR_FILENO + 1, (unsigned)images - 1, 0); /* and with that what shows that we are there */
        (void)close_range((unsigned)images + 1, (unsigned)out - 1, 0);
        (void)close_range((unsigned)out + 1, ~0U, 0);
        (void)dump_images_finish(images, &f.bytes, &f.fault);
        _exit(write(out, &f, sizeof(f)) == sizeof(f) ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* A child does it, since a disk that does not answer would hold us up beyond any signal. */
static int finish(struct role *r, struct fault *fault) {
        struct clone_args args = { .exit_signal = SIGCHLD };
        struct finished f;
        int fds[2], q;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return fault_set(fault, SHIM_STEP_RESTORE, errno, "sync the images");
        pid = sys_clone3(&args);
        if (pid == 0)
                finish_main(r->images, fds[1]);
        safe_close(fds[1]);
        q = pid < 0 ? -errno : attend(r, fds[0], false) ? 0 : -ECANCELED;
        if (q >= 0)
                q = read(fds[0], &f, sizeof(f)) == sizeof(f) ? 0 : -ECHILD;
        safe_close(fds[0]);
        if (pid > 0 && child_kill(pid))
                (void)waitpid(pid, NULL, 0);
        if (q < 0)
                return fault_set(fault, SHIM_STEP_RESTORE, q, "sync the images");
        r->bytes = f.bytes;
        *fault = f.fault;
        return f.fault.error;
}

/* All is written, and criu holds the processes until the manager has kept it or not. */
static bool ask_for_end(struct role *r) {
        struct fault fault = FAULT_NULL;

        if (finish(r, &fault) < 0) {
                if (!r->given_up)
                        tell(r, fault.error, LAUNCHER_DUMP_FAILED, fault.text);
                return false;
        }
        tell(r, 0, LAUNCHER_DUMP_OK, r->version);
        while (!r->end && !r->given_up)
                hear_launcher(r);
        r->asked = true;
        return r->end;
}

/* Until criu's last word. 0: it has dumped; 1: it could not, as the answer says; or a negative errno. */
static int converse(struct role *r, struct criu_answer *a) {
        for (;;) {
                bool go_on = true;
                int q;

                if (!attend(r, r->criu_sock, true))
                        return r->given_up ? -ECANCELED : -ETIMEDOUT;
                q = criu_receive(r->criu_sock, a);
                if (packet_transient(q))
                        continue;
                if (q <= 0)
                        return q < 0 ? q : -EPIPE;
                a->fd = safe_close(a->fd);
                if (a->type != CRIU_NOTIFY)
                        return r->given_up && !r->asked ? -ECANCELED : a->success ? 0 : 1;
                if (r->given_up)
                        go_on = false;
                else if (streq(a->script, "post-dump") && (r->task.flags & LAUNCHER_DUMP_EXIT))
                        go_on = ask_for_end(r);
                q = criu_go_on(r->criu_sock, go_on);
                if (q < 0)
                        return q;
        }
}

/* As it was found: everything stands still when this is told. */
static void hold(struct role *r) {
        struct cgroup c = CGROUP_NULL;
        bool populated = true, frozen = false;

        c.payload_fd = r->task.payload_fd;
        if (cgroup_freeze(&c, true) < 0)
                return;
        for (int i = 0; i < 16 && cgroup_state(&c, &populated, &frozen) >= 0 && populated && !frozen; i++) {
                struct pollfd p = { .fd = c.events_fd, .events = POLLPRI };

                if (poll(&p, 1, STILL_MSEC) == 0)
                        break;
        }
        safe_close(c.events_fd);
}

/* Not before it has gone is the container in nobody's hands. One that the kernel keeps does nothing any more. */
static void criu_stop(struct role *r, bool at_once) {
        if (r->criu <= 0)
                return;
        r->criu_sock = safe_close(r->criu_sock);
        r->killed = at_once || !child_ended(r->criu, (int)(ORDERLY_USEC / 1000));
        r->stuck = !criu_end(r->criu);
        if (!r->stuck)
                (void)waitpid(r->criu, NULL, 0);
        if (r->frozen && !r->end)
                hold(r);
}

static void explain(struct role *r, const struct criu_answer *a) {
        char log[TEXT_MAX - 64], text[TEXT_MAX];

        if (criu_complaint(r->images, DUMP_LOG, log, sizeof(log)) <= 0)
                (void)snprintf(log, sizeof(log), "%s", *a->message ? a->message : "it gives no reason");
        (void)snprintf(text, sizeof(text), "criu: %s", log);
        if (a->error == ENOSPC || strstr(log, "No space left"))
                tell(r, -ENOSPC, LAUNCHER_DUMP_FAILED, text);
        else
                tell(r, -EBUSY, LAUNCHER_DUMP_REFUSED, text);
}

/* written: criu had done its part */
static void say_given_up(struct role *r, bool written) {
        char stuck[64];

        (void)snprintf(stuck, sizeof(stuck), "criu, process %d, does not end even when it is killed", (int)r->criu);
        tell(r, -ECANCELED, LAUNCHER_DUMP_CANCELLED,
             r->stuck    ? stuck
             : written   ? "its images were not on the disk yet"
             : r->killed ? "criu did not answer and was killed"
                         : "criu has undone what it had begun");
}

static void freezer_look(struct role *r) {
        _cleanup_free_ char *text = NULL;

        r->frozen = file_read_at(r->task.payload_fd, "cgroup.freeze", 16, &text, NULL) >= 0 && *text == '1';
}

static void dump(struct role *r, const char *program, const struct launcher_dump *request) {
        struct criu_answer answer = CRIU_ANSWER_NULL;
        struct fault fault = FAULT_NULL;
        int q;

        q = dump_task_open(&r->task, request->pid, request->start_time, &fault);
        if (q < 0) {
                tell(r, q, LAUNCHER_DUMP_FAILED, fault.text);
                return;
        }
        freezer_look(r);
        if (!*r->version)
                find_version(r, program);
        q = criu_start(r, program);
        if (q >= 0)
                q = criu_request(r, &fault);
        if (q >= 0)
                q = converse(r, &answer);
        criu_stop(r, q < 0 && answer.type != CRIU_DUMP);
        r->failure = r->end && q != 0 ? (q < 0 ? q : -EIO) : 0;
        if (q == 1)
                explain(r, &answer);
        else if (q == -ECANCELED || (q == 0 && !r->told && finish(r, &fault) == -ECANCELED))
                say_given_up(r, q == 0);
        else if (q < 0 || fault.error < 0)
                tell(r, q < 0 ? q : fault.error, LAUNCHER_DUMP_FAILED,
                     fault.error < 0 ? fault.text : "criu has ended without an answer");
        else
                tell(r, 0, LAUNCHER_DUMP_OK, r->version);
        dump_task_done(&r->task);
}

/** dump_role() - be the process that dumps, or with LAUNCHER_DUMP_CHECK finds out whether that can be done here
 *
 * @sock: to the launcher, LAUNCHER_DUMP_DONE and LAUNCHER_DUMP_ENDED go there with serial 0. @images: an empty
 * directory, or -1. @version: of criu, as an earlier check has told it; "": none has.
 */
void dump_role(int sock, int images, const struct launcher_dump *request, const char *version) {
        struct role r = { .sock = sock, .images = images, .criu_sock = -1, .task = DUMP_TASK_NULL };
        const char *program = criu_find();
        struct shim_result result = { .error = 0 };
        const char *text;

        r.task.flags = request->flags;
        (void)snprintf(r.version, sizeof(r.version), "%s", version);
        (void)prctl(PR_SET_NAME, "davit-dump", 0, 0, 0);
        if (!program)
                tell(&r, -EOPNOTSUPP, LAUNCHER_DUMP_MISSING, "criu is not installed");
        else if (request->flags & LAUNCHER_DUMP_CHECK)
                check(&r, program);
        else
                dump(&r, program, request);
        result.error = r.failure;
        text = r.failure < 0 ? "criu has ended before it had ended them" : NULL;
        if (r.asked)
                (void)shim_send(sock, LAUNCHER_DUMP_ENDED, 0, &result, text, NULL, 0);
        _exit(EXIT_SUCCESS);
}
