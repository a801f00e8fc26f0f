/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Restores, on the shim's side.
 *
 * In the place of the container's first process a child is cloned, which makes ready what the plan says and becomes
 * criu in the container's cgroup (restore-child.c). criu clones the first process as its sibling, so that the shim is
 * its parent, as after any start. Here criu is answered, and when it has done and gone the process it has made becomes
 * the task's. Nothing is waited for; whatever fails ends in shim_failed(), which kills what there is.
 */

#include "shim/restore.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shared/fd.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/child.h"
#include "shim/dump.h"
#include "shim/namespace.h"
#include "shim/prepare.h"
#include "shim/shim.h"

#define RESTORE_LOG "restore.log"
#define OPTIONS_MAX (1024U * 1024U)
#define COMPLAINT_MAX 400U

struct restore {
        int images;
        int log_dir; /* criu's working directory, which nobody else sees */
        uint32_t flags;
        char streams[3][96]; /* criu's names of them; "": not to be replaced */
        bool asked;          /* criu has its request */
        pid_t pid;           /* what it has made, once it says so */
};

static int restore_fault(struct fault *fault, int error, const char *what) {
        return fault_set(fault, SHIM_STEP_RESTORE, error, "%s", what);
}

static int record_line(struct restore *r, char *line) {
        char *value = strchr(line, ' ');
        size_t n;

        if (!value)
                return -EBADMSG;
        *value++ = '\0';
        if (streq(line, "flags"))
                return sscanf(value, "%" SCNu32, &r->flags) == 1 ? 0 : -EBADMSG;
        n = (size_t)(line[0] - '0');
        if (line[1] || n >= ELEMENTSOF(r->streams) || strlen(value) >= sizeof(r->streams[n]))
                return -EBADMSG;
        (void)snprintf(r->streams[n], sizeof(r->streams[n]), "%s", value);
        return 0;
}

static int record_read(struct restore *r) {
        _cleanup_free_ char *text = NULL;
        char *next, *line;
        int q;

        q = file_read_at(r->images, DUMP_RECORD, DUMP_RECORD_MAX, &text, NULL);
        for (next = text; q >= 0 && (line = strsep(&next, "\n"));)
                if (*line)
                        q = record_line(r, line);
        return q;
}

/** restore_take() - take the images of a launch that is a restore, its third descriptor */
int restore_take(struct shim *s, struct packet *p, struct fault *fault) {
        int r;

        s->restore = calloc(1, sizeof(*s->restore));
        if (!s->restore)
                return restore_fault(fault, ENOMEM, "images");
        s->restore->log_dir = -1;
        s->restore->images = packet_take_fd(p, 2);
        if (s->restore->images < 0)
                return restore_fault(fault, EBADMSG, "a restore without a directory of images");
        r = record_read(s->restore);
        return r < 0 ? restore_fault(fault, r, "record of the dump") : 0;
}

static void forget(struct shim *s) {
        struct restore *r = TAKE_PTR(s->restore);

        if (!r)
                return;
        safe_close(r->images);
        safe_close(r->log_dir);
        free(r);
}

/** restore_undo() - a restore has failed, and criu has gone
 *
 * criu ends what it has made; where it was killed nobody else does.
 */
void restore_undo(struct shim *s) {
        if (!s->restore)
                return;
        forget(s);
        (void)cgroup_kill(&s->cgroup, SIGKILL);
}

static int check(const struct shim *s, struct fault *fault) {
        const struct plan *plan = s->plan;
        const struct plan_namespace *n = plan_array(plan, plan->namespaces);

        if (plan->runtime.program)
                return restore_fault(fault, EOPNOTSUPP, "a restore with another runtime");
        if (namespace_is_users(plan))
                return restore_fault(fault, EOPNOTSUPP, "a restore with a user namespace");
        for (uint32_t i = 0; i < plan->namespaces.n; i++)
                if (n[i].clone_flag != CLONE_NEWNET)
                        return fault_set(fault, SHIM_STEP_RESTORE, EOPNOTSUPP,
                                         "a restore into a %s namespace that is joined by path",
                                         namespace_name(n[i].clone_flag));
        return 0;
}

/* criu opens anew what takes the place of a pipe, which nobody can do with a socket. */
static int check_streams(const struct restore *r, const struct stdio *io, struct fault *fault) {
        static const char *const names[] = { "stdin", "stdout", "stderr" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                struct stat st;

                if (strncmp(r->streams[i], "pipe:", 5) == 0 && io->fds[i] >= 0 && fstat(io->fds[i], &st) >= 0 &&
                    S_ISSOCK(st.st_mode))
                        return fault_set(fault, SHIM_STEP_RESTORE, EOPNOTSUPP,
                                         "%s was a pipe, in whose place a pipe or a file can be given, but no socket "
                                         "such as the journal's",
                                         names[i]);
        }
        return 0;
}

/* The one that criu is given: new, or joined by path. */
static int network(struct shim *s, struct setup *su, struct fault *fault) {
        if (s->plan->namespaces.n > 0)
                su->net_ns_fd = su->namespace_fds[0];
        else if (s->plan->clone_flags & CLONE_NEWNET) {
                if (s->net_ns_fd < 0)
                        s->net_ns_fd = namespace_make_network(NULL);
                if (s->net_ns_fd < 0)
                        return restore_fault(fault, s->net_ns_fd, "network namespace");
                su->net_ns_fd = s->net_ns_fd;
        }
        return 0;
}

/** restore_prepare() - clone the child that is to become criu; it waits for the scope */
int restore_prepare(struct shim *s, struct setup *su, struct fault *fault) {
        int r;

        r = check(s, fault);
        if (r >= 0)
                r = check_streams(s->restore, &su->stdio, fault);
        if (r >= 0)
                r = setup_open(su, s->plan, fault);
        if (r >= 0)
                r = network(s, su, fault);
        if (r < 0)
                return r;
        r = child_clone(&s->init, su, CLONE_NEWNS, s->scoped ? s->cgroup.init_fd : -1);
        if (r == 0)
                restore_main(su);
        s->net_ns_fd = safe_close(s->net_ns_fd);
        return r < 0 ? restore_fault(fault, r, "clone the process of criu") : 0;
}

static void fail(struct shim *s, int error, const char *what) {
        char complaint[COMPLAINT_MAX];
        struct fault fault = FAULT_NULL;

        if (s->restore->log_dir >= 0 &&
            criu_complaint(s->restore->log_dir, RESTORE_LOG, complaint, sizeof(complaint)) > 0)
                what = complaint;
        (void)fault_set(&fault, SHIM_STEP_RESTORE, error, "criu: %s", what);
        shim_failed(s, &s->init, &fault);
}

static void put_options(struct shim *s, struct criu_message *m) {
        const struct restore *r = s->restore;

        criu_put_number(m, CRIU_IMAGES_DIR_FD, (uint64_t)r->images);
        criu_put_number(m, CRIU_WORK_DIR_FD, (uint64_t)r->log_dir);
        criu_put_number(m, CRIU_EXT_UNIX_SK, !!(r->flags & LAUNCHER_DUMP_UNIX));
        criu_put_number(m, CRIU_TCP_ESTABLISHED, !!(r->flags & LAUNCHER_DUMP_TCP));
        criu_put_number(m, CRIU_FILE_LOCKS, !!(r->flags & LAUNCHER_DUMP_LOCKS));
        criu_put_number(m, CRIU_ORPHAN_PTS_MASTER, !!(r->flags & LAUNCHER_DUMP_TERMINAL));
        criu_put_number(m, CRIU_LOG_LEVEL, CRIU_LOG_WARNINGS);
        criu_put_text(m, CRIU_LOG_FILE, RESTORE_LOG);
        criu_put_number(m, CRIU_NOTIFY_SCRIPTS, true);
        criu_put_number(m, CRIU_RST_SIBLING, true);
        /* The newer way takes binds of one file system of the host's for one group and copies from the wrong one. */
        criu_put_number(m, CRIU_MNTNS_COMPAT_MODE, true);
        criu_put_number(m, CRIU_MANAGE_CGROUPS_MODE, CRIU_CGROUPS_IGNORE);
        for (int i = 0; i < 3; i++)
                if (*r->streams[i])
                        criu_put_inherit(m, RESTORE_STREAMS + i, r->streams[i]);
        if ((s->plan->clone_flags & CLONE_NEWNET) || s->plan->namespaces.n > 0)
                criu_put_inherit(m, RESTORE_NETWORK, DUMP_NETWORK);
}

/* The child knows where it has put what the plan mounts. */
static int request(struct shim *s, int options_fd) {
        _cleanup_criu_ struct criu_message options = { .data = NULL }, all = { .data = NULL };
        const void *more;
        size_t size;
        int r;

        r = memfd_map_sealed(options_fd, OPTIONS_MAX, &more, &size);
        if (r < 0)
                return r;
        put_options(s, &options);
        criu_put_all(&options, more, size);
        (void)munmap((void *)more, size);
        r = criu_finish(&all, CRIU_RESTORE, &options);
        if (r >= 0 && send(s->init.sock, all.data, all.size, MSG_NOSIGNAL) < 0)
                r = -errno;
        return r;
}

static void setup_message(struct shim *s) {
        struct packet packet;
        const struct setup_record *record = (const void *)packet.data;
        _cleanup_close_ int options = -1;
        int r;

        r = packet_recv(s->init.sock, &packet);
        if (packet_transient(r) || r == -ECONNRESET)
                return;
        if (r <= 0 || packet.size < sizeof(record->message)) {
                packet_done(&packet);
                fail(s, ECHILD, "it was killed before it began");
                return;
        }
        if (record->message == SETUP_FAULT && packet.size == sizeof(*record)) {
                struct fault fault = record->fault;

                fault.text[sizeof(fault.text) - 1] = '\0';
                fault.error = fault.error < 0 ? fault.error : -EIO;
                packet_done(&packet);
                shim_failed(s, &s->init, &fault);
                return;
        }
        if (record->message == SETUP_CRIU && packet.n_fds == 2) {
                options = packet_take_fd(&packet, 0);
                s->restore->log_dir = packet_take_fd(&packet, 1);
                s->restore->asked = true;
                r = request(s, options);
        } else
                r = -EBADMSG;
        packet_done(&packet);
        if (r < 0)
                fail(s, r, "request");
}

/* criu says which process it has made. Only a child of ours is believed to be one. */
static int adopt(struct shim *s, pid_t pid) {
        struct process *p = &s->init;
        _cleanup_close_ int fd = sys_pidfd_open(pid, 0);
        siginfo_t info = { .si_pid = 0 };

        if (fd < 0 || waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
                return -errno;
        safe_close(p->pidfd);
        p->pidfd = take_fd(&fd);
        p->pid = pid;
        (void)process_start_time(pid, &p->start_time);
        return 0;
}

/* criu has ended, and is reaped before what it has made counts: nobody is to see it in the container. */
static void finish(struct shim *s) {
        pid_t pid = s->restore->pid;
        int r;

        (void)waitid(P_PIDFD, (id_t)s->init.pidfd, &(siginfo_t){ .si_pid = 0 }, WEXITED);
        r = adopt(s, pid);
        if (r < 0) {
                fail(s, r, "what it has made is no child of ours");
                return;
        }
        forget(s);
        process_started(s, &s->init);
        shim_reap(s);
}

static void criu_message(struct shim *s) {
        struct criu_answer a;
        int r;

        r = criu_receive(s->init.sock, &a);
        if (packet_transient(r))
                return;
        if (r <= 0 && s->restore->pid > 0) {
                finish(s);
                return;
        }
        if (r <= 0) {
                fail(s, r < 0 ? r : ECHILD, "it has ended without an answer");
                return;
        }
        if (a.type == CRIU_NOTIFY) {
                if (a.fd >= 0 && streq(a.script, "orphan-pts-master")) {
                        safe_close(s->init.terminal_fd);
                        s->init.terminal_fd = take_fd(&a.fd);
                }
                (void)criu_go_on(s->init.sock, true); /* where it cannot be told it has ended, as is heard next */
        } else if (a.success && a.pid > 0)
                s->restore->pid = a.pid;
        else
                fail(s, a.error > 0 ? a.error : EIO, *a.message ? a.message : "it gives no reason");
        safe_close(a.fd);
}

/** restore_message() - the child, or criu, has something to say */
void restore_message(struct shim *s) {
        if (s->restore->asked)
                criu_message(s);
        else
                setup_message(s);
}
